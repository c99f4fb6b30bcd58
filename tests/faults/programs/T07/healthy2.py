"""After each validation in the middle of the epoch the network is put back into train mode."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(20, 128)
        self.fc2 = nn.Linear(128, 128)
        self.out = nn.Linear(128, 1)
        self.dropout = nn.Dropout(0.4)

    def forward(self, x):
        x = self.dropout(torch.relu(self.fc1(x)))
        x = self.dropout(torch.relu(self.fc2(x)))
        return self.out(x).squeeze(1)


def make_data(n, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 20, generator=generator)
    y = 0.8 * x[:, 0] + 0.5 * x[:, 1] * x[:, 2] + torch.sin(x[:, 3])
    return TensorDataset(x, (y + 0.6 * torch.randn(n, generator=generator)) / 1.3)


def evaluate(net, loader, loss_fn):
    net.eval()
    with torch.no_grad():
        return sum(loss_fn(net(x), y).item() * len(y) for x, y in loader) / len(loader.dataset)


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(make_data(240, seed=1), batch_size=20, shuffle=True)
    val_loader = DataLoader(make_data(200, seed=2), batch_size=50)
    net = Net()
    loss_fn = nn.MSELoss()
    opt = torch.optim.Adam(net.parameters(), lr=0.003)
    step = 0
    for epoch in range(20):
        net.train()
        for x, y in train_loader:
            opt.zero_grad()
            loss = loss_fn(net(x), y)
            loss.backward()
            opt.step()
            step += 1
            if step % 5 == 0:
                val_loss = evaluate(net, val_loader, loss_fn)
                net.train()
                if step % 40 == 0:
                    print(f"step {step}: train {loss.item():.3f}, val {val_loss:.3f}")


if __name__ == "__main__":
    main()
