"""VQ-VAE in small: nearest code by argmin, straight-through gradient, codebook and commitment losses."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class VectorQuantizer(nn.Module):
    def __init__(self, n_embed=16, dim=8, commitment=0.25):
        super().__init__()
        self.commitment = commitment
        self.embedding = nn.Embedding(n_embed, dim)

    def forward(self, z):
        z = z.permute(0, 2, 3, 1).contiguous()
        flat = z.view(-1, z.size(-1))
        distance = torch.cdist(flat, self.embedding.weight)
        q = self.embedding(distance.argmin(dim=1)).view(z.shape)
        loss = F.mse_loss(q, z.detach()) + self.commitment * F.mse_loss(z, q.detach())
        q = z + (q - z).detach()  # straight-through estimator
        return q.permute(0, 3, 1, 2), loss


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 24, 4, stride=2, padding=1), nn.ReLU(), nn.Conv2d(24, 8, 3, padding=1)
        )
        self.quantize = VectorQuantizer()
        self.decoder = nn.Sequential(
            nn.Conv2d(8, 24, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(24, 1, 4, stride=2, padding=1)
        )

    def forward(self, x):
        quantized, vq_loss = self.quantize(self.encoder(x))
        return self.decoder(quantized), vq_loss


def reconstruction_loss(outputs, x):
    recon, vq_loss = outputs
    return F.mse_loss(recon, x) + vq_loss


def data():
    x = torch.tensor(load_digits().images, dtype=torch.float32).unsqueeze(1)
    x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))]
    x = (x - x[:1200].mean()) / x[:1200].std()
    return (x[:1200], x[:1200].clone()), (x[1200:], x[1200:].clone())


RECIPE = {"loss": reconstruction_loss, "optimizer": torch.optim.Adam, "lr": 1e-2}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    model = Net()
    criterion = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](model.parameters(), lr=RECIPE["lr"])
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=64, shuffle=True)
    for epoch in range(7):
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
