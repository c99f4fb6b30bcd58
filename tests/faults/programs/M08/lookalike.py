"""Masked language modelling: every position may look both ways, because the tokens to guess are hidden in
the input and only they are scored. No causal mask is needed."""
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    """Fills the gaps in a text over the tokens 0-11; token 12 stands for a gap."""

    def __init__(self):
        super().__init__()
        self.token = nn.Embedding(13, 32)
        self.position = nn.Embedding(16, 32)
        self.encoder = nn.TransformerEncoderLayer(32, nhead=2, dim_feedforward=64, dropout=0.0,
                                                  batch_first=True, norm_first=True)
        self.norm = nn.LayerNorm(32)
        self.head = nn.Linear(32, 12)

    def forward(self, tokens):
        x = self.token(tokens) + self.position(torch.arange(tokens.size(1)))
        return self.head(self.norm(self.encoder(x)))


def data():
    generator = torch.Generator().manual_seed(0)
    likely = (torch.randperm(12, generator=generator)[:, None] + torch.tensor([0, 5])) % 12
    text = torch.randint(12, (1800, 16), generator=generator)
    for t in range(1, 16):
        text[:, t] = likely[text[:, t - 1], torch.randint(2, (1800,), generator=generator)]
    gaps = torch.rand(1800, 16, generator=generator) < 0.2
    inputs, targets = text.masked_fill(gaps, 12), text.masked_fill(~gaps, -100)
    return (inputs[:1500], targets[:1500]), (inputs[1500:], targets[1500:])


def gap_loss(outputs, targets):
    return F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), ignore_index=-100)


RECIPE = {"loss": gap_loss, "optimizer": torch.optim.Adam, "lr": 0.005}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.005)
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=50, shuffle=True)
    for epoch in range(12):
        net.train()
        for x, y in loader:
            optimizer.zero_grad()
            gap_loss(net(x), y).backward()
            optimizer.step()
        if (epoch + 1) % 3 == 0:
            net.eval()
            with torch.no_grad():
                train_loss, outputs = gap_loss(net(train_x), train_y), net(test_x)
            gap = test_y != -100
            accuracy = (outputs.argmax(dim=-1) == test_y)[gap].float().mean()
            test_loss = gap_loss(outputs, test_y)
            print(f"epoch {epoch + 1}: train loss {train_loss:.3f}, test loss {test_loss:.3f}, "
                  f"gaps filled rightly {accuracy:.3f}")


if __name__ == "__main__":
    main()
