"""A mixture of experts: a softmax gate weighs the outputs of four small networks."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Expert(nn.Module):
    def __init__(self, d_in, d_hidden, d_out):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(d_in, d_hidden), nn.ReLU(), nn.Linear(d_hidden, d_out))

    def forward(self, x):
        return self.net(x)


class Net(nn.Module):
    def __init__(self, d_in=64, d_hidden=24, classes=10, experts=4):
        super().__init__()
        self.experts = nn.ModuleList([Expert(d_in, d_hidden, classes) for _ in range(experts)])
        self.gate = nn.Sequential(nn.Linear(d_in, experts), nn.Softmax(dim=1))

    def forward(self, x):
        weights = self.gate(x)
        outputs = torch.stack([expert(x) for expert in self.experts], dim=1)
        return (weights.unsqueeze(-1) * outputs).sum(dim=1)


def data():
    digits = load_digits()
    x = torch.tensor(digits.data, dtype=torch.float32)
    y = torch.tensor(digits.target)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, test = order[:1200], order[1200:]
    x = (x - x[train].mean()) / x[train].std()
    return (x[train], y[train]), (x[test], y[test])

RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 5e-3}


def main():
    torch.manual_seed(0)
    train, test = data()
    train_loader = DataLoader(TensorDataset(*train), batch_size=64, shuffle=True)
    test_loader = DataLoader(TensorDataset(*test), batch_size=256)
    net = Net()
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    for epoch in range(8):
        net.train()
        for inputs, labels in train_loader:
            loss = RECIPE["loss"](net(inputs), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        net.eval()
        loss_sum, correct, count = 0.0, 0, 0
        with torch.no_grad():
            for inputs, labels in test_loader:
                outputs = net(inputs)
                loss_sum += RECIPE["loss"](outputs, labels).item() * labels.size(0)
                correct += (outputs.argmax(1) == labels).sum().item()
                count += labels.size(0)
        print("Epoch %d  test loss %.4f  accuracy %.2f%%" % (epoch, loss_sum / count, 100 * correct / count))


if __name__ == "__main__":
    main()
