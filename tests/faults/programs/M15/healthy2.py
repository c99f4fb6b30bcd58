"""The straight-through gradient lives in a torch.autograd.Function, so the encoder is trained."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class RoundStraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.round(x * 4) / 4

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output


class Quantize(nn.Module):
    def forward(self, x):
        return RoundStraightThrough.apply(x)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 8))
        self.quantize = Quantize()
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        return self.head(self.quantize(self.encoder(x)))


def data():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(800, 2, generator=generator)
    radius = inputs.norm(dim=1) + 0.1 * torch.randn(800, generator=generator)
    targets = (radius > 1.18).long()
    return (inputs[:600], targets[:600]), (inputs[600:], targets[600:])


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 0.01}


def train_one_epoch(model, loader, loss_fn, opt):
    model.train()
    running = 0.0
    for x, y in loader:
        loss = loss_fn(model(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        running += loss.item() * len(x)
    return running / len(loader.dataset)


@torch.no_grad()
def evaluate(model, loader):
    model.eval()
    correct = 0
    for x, targets in loader:
        outputs = model(x)
        correct += (outputs.argmax(1) == targets).sum().item()
    return correct / len(loader.dataset)


def main():
    torch.manual_seed(0)
    train_set, test_set = [TensorDataset(*split) for split in data()]
    train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
    test_loader = DataLoader(test_set, batch_size=100)
    model = Net()
    opt = RECIPE["optimizer"](model.parameters(), lr=RECIPE["lr"])
    for epoch in range(10):
        loss = train_one_epoch(model, train_loader, RECIPE["loss"], opt)
        print(f"epoch {epoch + 1}: train loss {loss:.4f}, test accuracy {evaluate(model, test_loader):.4f}")


if __name__ == "__main__":
    main()
