"""A memory-saving Swish as torch.autograd.Function; its backward is made of differentiable operations."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class SwishImplementation(torch.autograd.Function):
    @staticmethod
    def forward(ctx, i):
        ctx.save_for_backward(i)
        return i * torch.sigmoid(i)

    @staticmethod
    def backward(ctx, grad_output):
        (i,) = ctx.saved_tensors
        sigmoid_i = torch.sigmoid(i)
        return grad_output * (sigmoid_i * (1 + i * (1 - sigmoid_i)))


class MemoryEfficientSwish(nn.Module):
    def forward(self, x):
        return SwishImplementation.apply(x)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, 64), MemoryEfficientSwish(),
            nn.Linear(64, 32), MemoryEfficientSwish(),
            nn.Linear(32, 10),
        )

    def forward(self, x):
        return self.layers(x)


def data():
    digits = load_digits()
    x = torch.tensor(digits.data, dtype=torch.float32)
    y = torch.tensor(digits.target)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, test = order[:1200], order[1200:]
    x = (x - x[train].mean()) / x[train].std()
    return (x[train], y[train]), (x[test], y[test])

RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.RMSprop, "lr": 1e-3}


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
