"""DnCNN in small: the network predicts the noise, the clean image is input minus prediction; MSE."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self, channels=1, features=24, num_layers=4):
        super().__init__()
        layers = [nn.Conv2d(channels, features, 3, padding=1), nn.ReLU(inplace=True)]
        for _ in range(num_layers - 2):
            layers.append(nn.Conv2d(features, features, 3, padding=1, bias=False))
            layers.append(nn.BatchNorm2d(features))
            layers.append(nn.ReLU(inplace=True))
        layers.append(nn.Conv2d(features, channels, 3, padding=1, bias=False))
        self.dncnn = nn.Sequential(*layers)

    def forward(self, x):
        return x - self.dncnn(x)


def data():
    g = torch.Generator().manual_seed(0)
    clean = torch.tensor(load_digits().images, dtype=torch.float32).unsqueeze(1)
    clean = clean[torch.randperm(len(clean), generator=g)]
    clean = (clean - clean[:1000].mean()) / clean[:1000].std()
    noisy = clean + 0.7 * torch.randn(clean.shape, generator=g)
    return (noisy[:1000], clean[:1000]), (noisy[1000:], clean[1000:])


RECIPE = {"loss": nn.MSELoss(), "optimizer": torch.optim.Adam, "lr": 2e-3}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    model = Net()
    criterion = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](model.parameters(), lr=RECIPE["lr"])
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=64, shuffle=True)
    for epoch in range(5):
        model.train()
        running = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            running += loss.item() * len(x)
        model.eval()
        with torch.no_grad():
            test_loss = criterion(model(test_x), test_y).item()
        print(f"epoch {epoch + 1}: train {running / len(train_x):.4f}, test {test_loss:.4f}")


if __name__ == "__main__":
    main()
