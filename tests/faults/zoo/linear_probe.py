"""A linear probe: the backbone is frozen on purpose (requires_grad False, always eval), a head is trained."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def make_backbone():
    """Stands for a downloaded backbone: fixed filters, BatchNorm statistics of images of this kind."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        backbone = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 48, 3, padding=1, bias=False), nn.BatchNorm2d(48), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(),
        )
        (images, _), _ = data()
        with torch.no_grad():
            for _ in range(40):
                backbone(images[:256])
    return backbone.eval()


class Net(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.backbone = make_backbone()
        for param in self.backbone.parameters():
            param.requires_grad = False
        self.head = nn.Linear(48 * 2 * 2, num_classes)

    def train(self, mode=True):
        super().train(mode)
        self.backbone.eval()  # the statistics of a frozen backbone stay as they are
        return self

    def forward(self, x):
        with torch.no_grad():
            features = self.backbone(x)
        return self.head(features)


def data():
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1)
    y = torch.tensor(digits.target)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, test = order[:1200], order[1200:]
    x = (x - x[train].mean()) / x[train].std()
    return (x[train], y[train]), (x[test], y[test])

RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 3e-3}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    model = Net()
    optimizer = RECIPE["optimizer"]([p for p in model.parameters() if p.requires_grad], lr=RECIPE["lr"])
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=64, shuffle=True)
    for epoch in range(8):
        model.train()
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = RECIPE["loss"](model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(x)
        model.eval()
        with torch.no_grad():
            correct = (model(test_x).argmax(dim=1) == test_y).sum().item()
        print(f"epoch {epoch + 1}: loss {total / len(train_x):.4f}, accuracy {correct / len(test_x):.4f}")


if __name__ == "__main__":
    main()
