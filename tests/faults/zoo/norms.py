"""Every other normalisation: InstanceNorm and GroupNorm between convolutions, LayerNorm in the head."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.InstanceNorm2d(16, affine=True),
            nn.LeakyReLU(0.1),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.GroupNorm(8, 32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.GroupNorm(8, 32),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(128, 64), nn.LayerNorm(64), nn.GELU(), nn.Dropout(0.1), nn.Linear(64, 10)
        )

    def forward(self, x):
        return self.head(self.features(x))


def data():
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1)
    y = torch.tensor(digits.target)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, test = order[:1200], order[1200:]
    x = (x - x[train].mean()) / x[train].std()
    return (x[train], y[train]), (x[test], y[test])

RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.AdamW, "lr": 3e-3}


def main():
    torch.manual_seed(0)
    train, test = data()
    train_loader = DataLoader(TensorDataset(*train), batch_size=64, shuffle=True)
    test_loader = DataLoader(TensorDataset(*test), batch_size=256)
    net = Net()
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    for epoch in range(5):
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
