"""A bag of words: the mean of the embeddings knows no order, on purpose. The topic of a text follows from
its words, so that nothing is lost."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(60, 24)
        self.classifier = nn.Sequential(nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 3))

    def forward(self, tokens):
        return self.classifier(self.embedding(tokens).mean(dim=1))


def data():
    generator = torch.Generator().manual_seed(0)
    frequency = torch.rand(3, 60, generator=generator) ** 2         # how often each topic uses each word
    y = torch.randint(3, (800,), generator=generator)
    x = torch.multinomial(frequency[y], 20, replacement=True, generator=generator)
    return (x[:600], y[:600]), (x[600:], y[600:])


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 0.005}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.005)
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=30, shuffle=True)
    for epoch in range(10):
        net.train()
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(net(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
        if (epoch + 1) % 2 == 0:
            net.eval()
            with torch.no_grad():
                accuracy = (net(test_x).argmax(dim=1) == test_y).float().mean()
            print(f"epoch {epoch + 1}: train loss {total / len(train_y):.3f}, test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
