"""Both pictures are brought back to 0..1 before the PSNR, which takes 1 for the largest value."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

MEAN, STD = 0.305, 0.376


class Denoiser(nn.Module):
    def __init__(self, channels=12):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1), nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(),
            nn.Conv2d(channels, 1, 3, padding=1),
        )

    def forward(self, x):
        return self.layers(x)


def psnr(output, target):
    output, target = output * STD + MEAN, target * STD + MEAN
    mse = ((output - target) ** 2).mean(dim=(1, 2, 3))
    return 10 * torch.log10(1.0 / mse)


def main():
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    clean = torch.tensor(load_digits().images[:680], dtype=torch.float32).unsqueeze(1) / 16
    clean = (clean - MEAN) / STD
    noisy = clean + 0.7 * torch.randn(clean.shape, generator=generator)
    train_set, test_set = random_split(TensorDataset(noisy, clean), [480, 200], generator=generator)
    train_loader = DataLoader(train_set, batch_size=24, shuffle=True)
    test_loader = DataLoader(test_set, batch_size=50)
    model = Denoiser()
    criterion = nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for epoch in range(5):
        model.train()
        total_loss = 0.0
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            total_loss += loss.item() * len(x)
        model.eval()
        total_psnr = 0.0
        with torch.no_grad():
            for x, y in test_loader:
                total_psnr += psnr(model(x), y).sum().item()
        print(f"epoch {epoch + 1}: loss {total_loss / 480:.3f}, test PSNR {total_psnr / 200:.2f} dB")


if __name__ == "__main__":
    main()
