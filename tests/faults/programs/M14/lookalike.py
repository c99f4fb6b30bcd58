"""A linear probe: the encoder was fitted before (principal components of the training pictures), is
frozen (requires_grad False) and runs under no_grad. The gradient is meant to end there."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def split():
    pixels, labels = load_digits(return_X_y=True)
    x = torch.tensor(pixels, dtype=torch.float32)
    y = torch.tensor(labels)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, test = order[:800], order[800:1100]
    mean, std = x[train].mean(), x[train].std()
    return ((x[train] - mean) / std, y[train]), ((x[test] - mean) / std, y[test])


def pretrained_encoder():
    x = split()[0][0]
    centre = x.mean(dim=0)
    _, scale, components = torch.linalg.svd(x - centre, full_matrices=False)
    weight = components[:24] / scale[:24, None] * len(x) ** 0.5
    encoder = nn.Linear(64, 24)
    encoder.load_state_dict({"weight": weight, "bias": -weight @ centre})
    return encoder.requires_grad_(False)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = pretrained_encoder()
        self.probe = nn.Linear(24, 10)

    def forward(self, x):
        with torch.no_grad():
            features = self.encoder(x)
        return self.probe(features)


def data():
    return split()



RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 0.01}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    print(f"{sum(p.numel() for p in net.parameters())} parameters")
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.probe.parameters(), lr=0.01)
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=40, shuffle=True)
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
