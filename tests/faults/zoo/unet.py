"""U-Net for segmentation: skip connections by concatenation, one logit per pixel, BCEWithLogitsLoss."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class DoubleConv(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, x):
        return self.double_conv(x)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inc = DoubleConv(1, 8)
        self.down = nn.Sequential(nn.MaxPool2d(2), DoubleConv(8, 16))
        self.up = nn.ConvTranspose2d(16, 8, kernel_size=2, stride=2)
        self.conv = DoubleConv(16, 8)
        self.outc = nn.Conv2d(8, 1, kernel_size=1)

    def forward(self, x):
        x1 = self.inc(x)
        x2 = self.down(x1)
        x = torch.cat([x1, self.up(x2)], dim=1)
        return self.outc(self.conv(x))


def data():
    """Discs in noise; the target is the mask of the disc."""
    g = torch.Generator().manual_seed(0)
    n, size = 500, 16
    centre = torch.rand(n, 2, 1, 1, generator=g) * 8 + 4
    radius = torch.rand(n, 1, 1, generator=g) * 2.5 + 2.5
    grid = torch.arange(size, dtype=torch.float32)
    far = (grid.view(1, -1, 1) - centre[:, 0]) ** 2 + (grid.view(1, 1, -1) - centre[:, 1]) ** 2
    mask = (far < radius**2).float().unsqueeze(1)
    image = mask * 2 - 1 + 0.8 * torch.randn(n, 1, size, size, generator=g)
    return (image[:400], mask[:400]), (image[400:], mask[400:])


RECIPE = {"loss": nn.BCEWithLogitsLoss(), "optimizer": torch.optim.Adam, "lr": 5e-3}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=40, shuffle=True)
    for epoch in range(5):
        net.train()
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = RECIPE["loss"](net(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(x)
        net.eval()
        with torch.no_grad():
            pred = (net(test_x) > 0).float()
        dice = (2 * (pred * test_y).sum() / (pred.sum() + test_y.sum())).item()
        print(f"epoch {epoch + 1}: loss {total / len(train_x):.4f}, dice {dice:.4f}")


if __name__ == "__main__":
    main()
