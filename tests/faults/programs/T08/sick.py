"""Both gradients are set to zero at the top of the loop, but the generator's backward() runs through the
discriminator: opt_d.step() also follows the generator's loss and the discriminator takes two fakes of three
for real."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def real_points(n):
    """A tilted cloud around (1, -0.5)."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(n, 2, generator=generator)
    return noise @ torch.tensor([[0.6, 0.3], [0.0, 0.3]]) + torch.tensor([1.0, -0.5])


def main():
    torch.manual_seed(0)
    points = real_points(960)
    loader = DataLoader(TensorDataset(points), batch_size=64, shuffle=True)
    generator = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
    discriminator = nn.Sequential(nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))
    opt_g = torch.optim.Adam(generator.parameters(), lr=0.001, betas=(0.5, 0.999))
    opt_d = torch.optim.Adam(discriminator.parameters(), lr=0.005, betas=(0.5, 0.999))
    bce = nn.BCEWithLogitsLoss()
    ones, zeros = torch.ones(64, 1), torch.zeros(64, 1)

    for epoch in range(30):
        generator.train()
        discriminator.train()
        for (real,) in loader:
            opt_g.zero_grad()
            opt_d.zero_grad()
            fake = generator(torch.randn(64, 4))
            g_loss = bce(discriminator(fake), ones)
            g_loss.backward()
            opt_g.step()

            d_loss = bce(discriminator(real), ones) + bce(discriminator(fake.detach()), zeros)
            d_loss.backward()
            opt_d.step()
        if epoch % 5 == 4:
            generator.eval()
            discriminator.eval()
            with torch.no_grad():
                sample = generator(torch.randn(960, 4))
                d_real = torch.sigmoid(discriminator(points)).mean().item()
                d_fake = torch.sigmoid(discriminator(sample)).mean().item()
            distance = (sample.mean(dim=0) - points.mean(dim=0)).norm().item()
            print(f"epoch {epoch + 1}: D loss {d_loss.item():.3f}, G loss {g_loss.item():.3f}, "
                  f"D(real) {d_real:.2f}, D(fake) {d_fake:.2f}, distance of the means {distance:.3f}")


if __name__ == "__main__":
    main()
