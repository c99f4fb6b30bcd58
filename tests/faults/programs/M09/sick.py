"""key_padding_mask of nn.MultiheadAttention means True = ignore, but it gets True for the real tokens:
the model attends to the padding only and answers without having read the sentence."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    """Reads the topic of a sentence off [CLS]; attention_mask is 1 for real tokens, 0 for padding."""

    def __init__(self):
        super().__init__()
        self.token = nn.Embedding(42, 32, padding_idx=0)
        self.position = nn.Embedding(20, 32)
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)
        self.norm1 = nn.LayerNorm(32)
        self.mlp = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 32))
        self.norm2 = nn.LayerNorm(32)
        self.classifier = nn.Linear(32, 4)

    def forward(self, tokens, attention_mask):
        x = self.token(tokens) + self.position(torch.arange(tokens.size(1)))
        found, _ = self.attention(x, x, x, key_padding_mask=attention_mask == 1, need_weights=False)
        x = self.norm1(x + found)
        x = self.norm2(x + self.mlp(x))
        return self.classifier(x[:, 0])


def data():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(14, 42, (800, 20), generator=generator)      # 0 padding, 1 [CLS], 2-13 topic words
    y = torch.randint(4, (800,), generator=generator)
    lengths = torch.randint(6, 19, (800,), generator=generator)
    place = 1 + (torch.rand(800, generator=generator) * (lengths - 1)).long()
    tokens[torch.arange(800), place] = 2 + 3 * y + torch.randint(3, (800,), generator=generator)
    tokens[:, 0] = 1
    mask = (torch.arange(20) < lengths[:, None]).long()
    tokens = tokens * mask
    return (({"tokens": tokens[:600], "attention_mask": mask[:600]}, y[:600]),
            ({"tokens": tokens[600:], "attention_mask": mask[600:]}, y[600:]))


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 0.005}


def main():
    torch.manual_seed(0)
    (train_inputs, train_y), (test_inputs, test_y) = data()
    net = Net()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.005)
    dataset = TensorDataset(train_inputs["tokens"], train_inputs["attention_mask"], train_y)
    loader = DataLoader(dataset, batch_size=50, shuffle=True)
    for epoch in range(10):
        net.train()
        total = 0.0
        for tokens, attention_mask, y in loader:
            optimizer.zero_grad()
            loss = criterion(net(tokens, attention_mask), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
        net.eval()
        with torch.no_grad():
            outputs = net(test_inputs["tokens"], test_inputs["attention_mask"])
        accuracy = (outputs.argmax(dim=1) == test_y).float().mean()
        print(f"epoch {epoch + 1}: train loss {total / len(train_y):.3f}, test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
