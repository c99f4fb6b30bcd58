"""A small GAN on digits after DCGAN's example: two optimizers, gradients cleared before each backward."""
import hashlib

import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(5)

NZ = 16
images = torch.tensor(load_digits().data, dtype=torch.float32) / 8 - 1
dataloader = DataLoader(TensorDataset(images), batch_size=64, shuffle=True, drop_last=True)

netG = nn.Sequential(
    nn.Linear(NZ, 64), nn.BatchNorm1d(64), nn.ReLU(True), nn.Linear(64, 128), nn.ReLU(True),
    nn.Linear(128, 64), nn.Tanh(),
)
netD = nn.Sequential(
    nn.Linear(64, 96), nn.LeakyReLU(0.2), nn.Linear(96, 48), nn.LeakyReLU(0.2), nn.Linear(48, 1)
)
criterion = nn.BCEWithLogitsLoss()
optimizerD = torch.optim.Adam(netD.parameters(), lr=5e-4, betas=(0.5, 0.999))
optimizerG = torch.optim.Adam(netG.parameters(), lr=1e-3, betas=(0.5, 0.999))
fixed_noise = torch.randn(64, NZ)

for epoch in range(10):
    sum_d, sum_g = 0.0, 0.0
    for (real,) in dataloader:
        n = real.size(0)
        # (1) D: real as real, fake as fake
        optimizerD.zero_grad()
        errD_real = criterion(netD(real).view(-1), torch.ones(n))
        errD_real.backward()
        fake = netG(torch.randn(n, NZ))
        errD_fake = criterion(netD(fake.detach()).view(-1), torch.zeros(n))
        errD_fake.backward()
        optimizerD.step()
        # (2) G: fake as real
        optimizerG.zero_grad()
        errG = criterion(netD(fake).view(-1), torch.ones(n))
        errG.backward()
        optimizerG.step()
        sum_d += errD_real.item() + errD_fake.item()
        sum_g += errG.item()
    print("epoch", epoch + 1, "Loss_D", sum_d / len(dataloader), "Loss_G", sum_g / len(dataloader))

netG.eval()
with torch.no_grad():
    samples = netG(fixed_noise)
print("samples", samples.mean().item(), samples.std().item())
print("real", images.mean().item(), images.std().item())
digest = hashlib.sha256()
for net in (netG, netD):
    for tensor in net.state_dict().values():
        digest.update(tensor.numpy().tobytes())
print("sha256", digest.hexdigest())
