"""The gradients are clamped in place with clamp_(), so a batch with an outlier cannot throw the network
off."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def make_data(n, seed):
    """A smooth function; the targets have heavy tails, as prices and returns do."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 5, generator=generator)
    noise = torch.randn(n, generator=generator) / torch.rand(n, generator=generator).clamp(min=0.02).sqrt()
    y = torch.sin(2 * x[:, 0]) + 0.6 * x[:, 1] * x[:, 2] + 0.15 * noise
    return TensorDataset(x, y.unsqueeze(1))


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(make_data(800, seed=1), batch_size=16, shuffle=True)
    test_loader = DataLoader(make_data(200, seed=2), batch_size=50)
    policy_net = nn.Sequential(nn.Linear(5, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    criterion = nn.MSELoss()
    optimizer = torch.optim.SGD(policy_net.parameters(), lr=0.1, momentum=0.9)
    for epoch in range(8):
        policy_net.train()
        running = 0.0
        for x, y in train_loader:
            loss = criterion(policy_net(x), y)
            optimizer.zero_grad()
            loss.backward()
            for param in policy_net.parameters():
                param.grad.data.clamp_(-0.05, 0.05)
            optimizer.step()
            running += loss.item() * len(x)
        policy_net.eval()
        with torch.no_grad():
            test = sum(criterion(policy_net(x), y).item() * len(x) for x, y in test_loader) / 200
        print(f"epoch {epoch + 1}: train {running / 800:.3f}, test {test:.3f}")


if __name__ == "__main__":
    main()
