"""Each convolution is followed by a ReLU."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
        )
        self.classifier = nn.Linear(16, 2)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


def data():
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 2, (700,), generator=generator)
    phase = 6.28 * torch.rand(700, 1, 1, generator=generator)
    speed = 1.0 + torch.rand(700, 1, 1, generator=generator)
    wave = torch.sin(speed * torch.arange(12.0).view(1, 1, 12) + phase).expand(700, 12, 12)
    images = torch.where(targets.view(-1, 1, 1) == 1, wave.transpose(1, 2), wave)
    images = (images + 1.2 * torch.randn(700, 12, 12, generator=generator)).unsqueeze(1)
    return (images[:512], targets[:512]), (images[512:], targets[512:])


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
    for epoch in range(6):
        loss = train_one_epoch(model, train_loader, RECIPE["loss"], opt)
        print(f"epoch {epoch + 1}: train loss {loss:.4f}, test accuracy {evaluate(model, test_loader):.4f}")


if __name__ == "__main__":
    main()
