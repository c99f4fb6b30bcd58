"""The parameters of both networks are put into a list, which the optimizer and the clipping can both read."""
from itertools import chain

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def make_data():
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(800, 20, 1, generator=generator)
    gate = (torch.rand(800, 20, 1, generator=generator) < 0.3).float()
    totals = (values * gate).sum(dim=(1, 2))
    return torch.cat([values, gate], dim=2), (totals - 3) / 1.3


def train(encoder, decoder, loader, params, opt, loss_fn):
    encoder.train()
    decoder.train()
    losses = []
    for x, y in loader:
        opt.zero_grad()
        _, last = encoder(x)
        loss = loss_fn(decoder(last[0]).squeeze(1), y)
        loss.backward()
        nn.utils.clip_grad_norm_(params, max_norm=0.3)
        opt.step()
        losses.append(loss.item())
    return sum(losses) / len(losses)


def main():
    torch.manual_seed(0)
    x, y = make_data()
    loader = DataLoader(TensorDataset(x[:640], y[:640]), batch_size=40, shuffle=True)
    encoder = nn.RNN(2, 32, nonlinearity="relu", batch_first=True)
    decoder = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 1))
    nn.init.eye_(encoder.weight_hh_l0)
    params = list(chain(encoder.parameters(), decoder.parameters()))
    opt = torch.optim.SGD(params, lr=0.005, momentum=0.9)
    loss_fn = nn.MSELoss()
    for epoch in range(15):
        loss = train(encoder, decoder, loader, params, opt, loss_fn)
        encoder.eval()
        decoder.eval()
        with torch.no_grad():
            error = loss_fn(decoder(encoder(x[640:])[1][0]).squeeze(1), y[640:]).item()
        print(f"epoch {epoch + 1}: loss {loss:.4g}, test error {error:.4g}")


if __name__ == "__main__":
    main()
