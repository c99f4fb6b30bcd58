"""ALBERT's two savings in small: one layer used three times on purpose, a low-rank embedding."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self, vocab=24, embedding_size=8, hidden=32, num_layers=3, classes=3, length=10):
        super().__init__()
        self.word_embeddings = nn.Embedding(vocab, embedding_size)
        self.embedding_hidden_mapping_in = nn.Linear(embedding_size, hidden)
        self.position = nn.Parameter(torch.randn(1, length, hidden) * 0.02)
        self.shared_layer = nn.TransformerEncoderLayer(
            hidden, nhead=4, dim_feedforward=64, dropout=0.0, activation="gelu", batch_first=True
        )
        self.num_layers = num_layers  # all of them are self.shared_layer: the sharing is the method
        self.classifier = nn.Linear(hidden, classes)

    def forward(self, tokens):
        x = self.embedding_hidden_mapping_in(self.word_embeddings(tokens)) + self.position
        for _ in range(self.num_layers):
            x = self.shared_layer(x)
        return self.classifier(x.mean(dim=1))


def data():
    """Which of three groups of words is the most frequent one?"""
    g = torch.Generator().manual_seed(0)
    tokens = torch.randint(24, (2400, 10), generator=g)
    counts = torch.stack([((tokens // 8) == k).sum(1) for k in range(3)], dim=1)
    top = counts.sort(dim=1, descending=True).values
    clear = top[:, 0] > top[:, 1]
    tokens, y = tokens[clear], counts[clear].argmax(1)
    return (tokens[:1000], y[:1000]), (tokens[1000:1400], y[1000:1400])


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.AdamW, "lr": 2e-3}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    model = Net()
    criterion = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](model.parameters(), lr=RECIPE["lr"])
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=64, shuffle=True)
    for epoch in range(6):
        model.train()
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(x)
        model.eval()
        with torch.no_grad():
            correct = (model(test_x).argmax(dim=1) == test_y).sum().item()
        print(f"epoch {epoch + 1}: loss {total / len(train_x):.4f}, accuracy {correct / len(test_x):.4f}")


if __name__ == "__main__":
    main()
