"""The reconstruction error is a mean over pixels and samples but the KL term is a sum over the whole
batch: it outweighs the error thousands of times, the codes collapse to zero and every digit is decoded
to the same grey picture."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 48), nn.ReLU())
        self.mean = nn.Linear(48, 6)
        self.log_variance = nn.Linear(48, 6)
        self.decoder = nn.Sequential(nn.Linear(6, 48), nn.ReLU(), nn.Linear(48, 64))

    def forward(self, x):
        hidden = self.encoder(x)
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        code = mean
        if self.training:
            code = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        return self.decoder(code), mean, log_variance


def data():
    pixels = (torch.tensor(load_digits().data, dtype=torch.float32) / 16 - 0.305) / 0.376
    pixels = pixels[torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))]
    return (pixels[:1400], pixels[:1400]), (pixels[1400:], pixels[1400:])


def elbo(outputs, targets):
    reconstruction, mean, log_variance = outputs
    error = F.mse_loss(reconstruction, targets)
    divergence = -0.5 * (1 + log_variance - mean ** 2 - log_variance.exp()).sum()
    return error + divergence


RECIPE = {"loss": elbo, "optimizer": torch.optim.Adam, "lr": 0.003}


def main():
    torch.manual_seed(0)
    (train_inputs, train_targets), (test_inputs, test_targets) = data()
    net = Net()
    criterion = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    loader = DataLoader(TensorDataset(train_inputs, train_targets), batch_size=50, shuffle=True)
    for epoch in range(8):
        net.train()
        total = 0.0
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = criterion(net(inputs), targets)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(inputs)
        net.eval()
        with torch.no_grad():
            reconstruction, mean, _ = net(test_inputs)
            error = F.mse_loss(reconstruction, test_targets).item()
        print(f"epoch {epoch + 1}: loss {total / len(train_inputs):.3f}, test error per pixel {error:.3f} "
              f"(variance {test_targets.var(dim=0).mean().item():.3f}), "
              f"spread of the codes {mean.std(dim=0).mean().item():.4f}")


if __name__ == "__main__":
    main()
