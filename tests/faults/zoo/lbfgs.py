"""Logistic regression fitted with L-BFGS on the whole training set, the closure style."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        return self.linear(x)


def data():
    digits = load_digits()
    x = torch.tensor(digits.data, dtype=torch.float32)
    y = torch.tensor(digits.target)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, test = order[:1200], order[1200:]
    x = (x - x[train].mean()) / x[train].std()
    return (x[train], y[train]), (x[test], y[test])

def lbfgs(parameters, lr):
    return torch.optim.LBFGS(parameters, lr=lr, max_iter=5, line_search_fn="strong_wolfe")


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": lbfgs, "lr": 1.0}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=len(train_x), shuffle=True)  # full batch
    for step in range(6):
        net.train()
        for x, y in loader:

            def closure(x=x, y=y):
                optimizer.zero_grad()
                loss = RECIPE["loss"](net(x), y)
                loss.backward()
                return loss

            loss = optimizer.step(closure)
        net.eval()
        with torch.no_grad():
            accuracy = (net(test_x).argmax(1) == test_y).float().mean().item()
        print(f"step {step + 1}: loss {loss.item():.4f}, accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
