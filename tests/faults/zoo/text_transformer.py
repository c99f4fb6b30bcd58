"""A text classifier on nn.TransformerEncoder: padding is masked in the attention and in the mean."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self, vocab=24, d_model=32, nhead=4, classes=2, max_len=12):
        super().__init__()
        self.embedding = nn.Embedding(vocab, d_model, padding_idx=0)
        self.position = nn.Embedding(max_len, d_model)
        layer = nn.TransformerEncoderLayer(d_model, nhead, dim_feedforward=64, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)
        self.classifier = nn.Linear(d_model, classes)

    def forward(self, tokens, mask):
        x = self.embedding(tokens) + self.position(torch.arange(tokens.size(1), device=tokens.device))
        x = self.encoder(x, src_key_padding_mask=~mask)  # mask: True at real tokens
        weight = mask.unsqueeze(-1).float()
        pooled = (x * weight).sum(dim=1) / weight.sum(dim=1)
        return self.classifier(pooled)


def data():
    """Words 1-8 are good, 9-16 bad, the rest neutral: are there more good ones than bad ones?"""
    g = torch.Generator().manual_seed(0)
    n, length = 1600, 12
    tokens = torch.randint(1, 24, (n, length), generator=g)
    lengths = torch.randint(5, length + 1, (n, 1), generator=g)
    mask = torch.arange(length) < lengths
    tokens = tokens * mask
    balance = ((tokens >= 1) & (tokens <= 8)).sum(1) - ((tokens >= 9) & (tokens <= 16)).sum(1)
    keep = balance != 0
    tokens, mask, labels = tokens[keep], mask[keep], (balance[keep] > 0).long()
    cut = 1000
    return (({"tokens": tokens[:cut], "mask": mask[:cut]}, labels[:cut]),
            ({"tokens": tokens[cut:], "mask": mask[cut:]}, labels[cut:]))


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.AdamW, "lr": 3e-3}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    train_set = TensorDataset(train_x["tokens"], train_x["mask"], train_y)
    loader = DataLoader(train_set, batch_size=64, shuffle=True)
    for epoch in range(4):
        net.train()
        total = 0.0
        for tokens, mask, targets in loader:
            optimizer.zero_grad()
            loss = RECIPE["loss"](net(tokens, mask), targets)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(targets)
        net.eval()
        with torch.no_grad():
            correct = (net(**test_x).argmax(dim=1) == test_y).sum().item()
        print(f"epoch {epoch + 1}: loss {total / len(train_set):.4f}, accuracy {correct / len(test_y):.4f}")


if __name__ == "__main__":
    main()
