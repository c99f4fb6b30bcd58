"""The autoencoder of many tutorials: linear layers with ReLU, a code without activation, sigmoid pixels."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(64, 48), nn.ReLU(True),
            nn.Linear(48, 32), nn.ReLU(True),
            nn.Linear(32, 8),
        )
        self.decoder = nn.Sequential(
            nn.Linear(8, 32), nn.ReLU(True),
            nn.Linear(32, 48), nn.ReLU(True),
            nn.Linear(48, 64), nn.Sigmoid(),
        )

    def forward(self, x):
        return self.decoder(self.encoder(x))


def data():
    x = torch.tensor(load_digits().data, dtype=torch.float32) / 16  # pixels in [0, 1], targets alike
    x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))]
    return (x[:1200], x[:1200].clone()), (x[1200:], x[1200:].clone())


RECIPE = {"loss": nn.MSELoss(), "optimizer": torch.optim.Adam, "lr": 3e-3}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    model = Net()
    criterion = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](model.parameters(), lr=RECIPE["lr"])
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=64, shuffle=True)
    for epoch in range(15):
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
