"""No padding mask, and none is needed: the padding stands at the end, the attention is causal so that
real tokens never see it, and the loss leaves it out (ignore_index)."""
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    """A language model over the tokens 1-12; shorter texts are padded with 0."""

    def __init__(self):
        super().__init__()
        self.token = nn.Embedding(13, 32, padding_idx=0)
        self.position = nn.Embedding(18, 32)
        self.encoder = nn.TransformerEncoderLayer(32, 2, dim_feedforward=64, dropout=0.0,
                                                  batch_first=True, norm_first=True)
        self.norm = nn.LayerNorm(32)
        self.head = nn.Linear(32, 13)

    def forward(self, tokens):
        x = self.token(tokens) + self.position(torch.arange(tokens.size(1)))
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.size(1))
        return self.head(self.norm(self.encoder(x, src_mask=mask, is_causal=True)))


def data():
    generator = torch.Generator().manual_seed(0)
    likely = 1 + (torch.randperm(12, generator=generator)[:, None] + torch.tensor([0, 3, 7])) % 12
    text = torch.randint(1, 13, (900, 19), generator=generator)
    for t in range(1, 19):
        choice = torch.randint(3, (900,), generator=generator)
        text[:, t] = likely[text[:, t - 1] - 1, choice]
    lengths = torch.randint(10, 19, (900,), generator=generator)
    text = text * (torch.arange(19) < lengths[:, None])
    inputs, targets = text[:, :-1], text[:, 1:]
    return (inputs[:720], targets[:720]), (inputs[720:], targets[720:])


def next_token_loss(outputs, targets):
    return F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), ignore_index=0)


RECIPE = {"loss": next_token_loss, "optimizer": torch.optim.Adam, "lr": 0.005}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.005)
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=40, shuffle=True)
    for epoch in range(8):
        net.train()
        for x, y in loader:
            optimizer.zero_grad()
            next_token_loss(net(x), y).backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            train_loss = next_token_loss(net(train_x), train_y)
            test_loss = next_token_loss(net(test_x), test_y)
        print(f"epoch {epoch + 1}: train loss {train_loss:.3f}, test loss {test_loss:.3f}")


if __name__ == "__main__":
    main()
