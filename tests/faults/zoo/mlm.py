"""A masked language model: targets are the tokens themselves, only where the input is masked (else -100)."""
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

VOCAB, MASK = 12, 12


class Net(nn.Module):
    def __init__(self, d_model=32, length=12):
        super().__init__()
        self.tokens = nn.Embedding(VOCAB + 1, d_model)
        self.positions = nn.Embedding(length, d_model)
        layer = nn.TransformerEncoderLayer(d_model, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(d_model)
        self.decoder = nn.Linear(d_model, VOCAB)

    def forward(self, ids):
        x = self.tokens(ids) + self.positions(torch.arange(ids.size(1), device=ids.device))
        return self.decoder(self.norm(self.encoder(x)))


def mlm_loss(logits, labels):
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)


def data():
    """Sequences that count on by 1, 2 or 3 with a little noise, a sixth of the places masked."""
    g = torch.Generator().manual_seed(0)
    n, length = 1400, 12
    start, step = torch.randint(VOCAB, (n, 1), generator=g), torch.randint(1, 4, (n, 1), generator=g)
    ids = (start + step * torch.arange(length)) % VOCAB
    noise = torch.rand(n, length, generator=g) < 0.05
    ids = torch.where(noise, torch.randint(VOCAB, (n, length), generator=g), ids)
    hidden = torch.rand(n, length, generator=g) < 1 / 6
    hidden[torch.arange(n), torch.randint(length, (n,), generator=g)] = True  # one at least
    x, y = torch.where(hidden, MASK, ids), torch.where(hidden, ids, -100)
    fresh = [i for i in range(1200, n) if not (x[:1200] == x[i]).all(1).any()]
    return (x[:1200], y[:1200]), (x[fresh], y[fresh])


RECIPE = {"loss": mlm_loss, "optimizer": torch.optim.AdamW, "lr": 3e-3}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    model = Net()
    criterion = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](model.parameters(), lr=RECIPE["lr"])
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=40, shuffle=True)
    for epoch in range(5):
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
