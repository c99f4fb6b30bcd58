"""forward() gets pictures as height x width x channel and calls view() to put the channel first, which
mixes rows and channels: the convolution never sees the shapes as they were drawn."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        )
        self.head = nn.Linear(24 * 4 * 4, 4)

    def forward(self, x):
        x = x.view(x.size(0), 3, 16, 16)
        return self.head(self.features(x).flatten(1))


def draw_shapes(count, generator):
    """Coloured shapes on a coloured ground, (count, 16, 16, 3) as read from a file, and their classes."""
    labels = torch.randint(0, 4, (count,), generator=generator)
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    pictures = torch.empty(count, 16, 16, 3)
    for i, label in enumerate(labels):
        y, x = 4 + 8 * torch.rand(2, generator=generator)
        dy, dx = (rows - y).abs(), (columns - x).abs()
        near = (dy < 4) & (dx < 4)
        flat, upright, slanted = near & (dy < 1), near & (dx < 1), near & ((dy - dx).abs() < 1)
        shapes = [flat, upright, flat | upright, slanted]
        ground, ink = torch.rand(2, 3, generator=generator)
        pictures[i] = torch.where(shapes[int(label)].unsqueeze(-1), ink, ground)
    pictures += 0.04 * torch.randn(pictures.shape, generator=generator)
    return pictures, labels


def data():
    generator = torch.Generator().manual_seed(0)
    pictures, labels = draw_shapes(1000, generator)
    images = (pictures - 0.5) / 0.29
    return (images[:800], labels[:800]), (images[800:], labels[800:])


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 0.005}


def main():
    torch.manual_seed(0)
    (train_inputs, train_targets), (test_inputs, test_targets) = data()
    loader = DataLoader(TensorDataset(train_inputs, train_targets), batch_size=32, shuffle=True)
    net = Net()
    loss_fn = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    for epoch in range(8):
        net.train()
        total = 0.0
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = loss_fn(net(inputs), targets)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(targets)
        net.eval()
        with torch.no_grad():
            accuracy = (net(test_inputs).argmax(dim=1) == test_targets).float().mean().item()
        print(f"epoch {epoch + 1}: train loss {total / len(train_targets):.3f}, test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
