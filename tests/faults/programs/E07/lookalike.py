"""Feeding the true text at test time is right here: a language model's perplexity is defined by the next
symbol given the true ones before it, so inputs and labels are the same text, shifted by one."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

VOCAB = 12


class LanguageModel(nn.Module):
    def __init__(self, hidden=48):
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, 16)
        self.lstm = nn.LSTM(16, hidden, batch_first=True)
        self.head = nn.Linear(hidden, VOCAB)

    def forward(self, tokens):
        return self.head(self.lstm(self.embedding(tokens))[0])


def make_text(n, seed, length=16):
    """A symbol is five times the one before plus three, modulo 12, and now and then any symbol."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, VOCAB, (n, length), generator=generator)
    slips = torch.rand(n, length, generator=generator) < 0.2
    for t in range(1, length):
        tokens[:, t] = torch.where(slips[:, t], tokens[:, t], (5 * tokens[:, t - 1] + 3) % VOCAB)
    return TensorDataset(tokens)


def perplexity(model, loader, criterion):
    model.eval()
    loss_sum = count = 0.0
    with torch.no_grad():
        for (tokens,) in loader:
            inputs, targets = tokens[:, :-1], tokens[:, 1:]
            loss_sum += criterion(model(inputs).flatten(0, 1), targets.flatten()).item() * targets.numel()
            count += targets.numel()
    return torch.tensor(loss_sum / count).exp().item()


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(make_text(640, seed=1), batch_size=32, shuffle=True)
    test_loader = DataLoader(make_text(200, seed=2), batch_size=50)
    model = LanguageModel()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for epoch in range(5):
        model.train()
        total = 0.0
        for (tokens,) in train_loader:
            inputs, targets = tokens[:, :-1], tokens[:, 1:]
            optimizer.zero_grad()
            loss = criterion(model(inputs).flatten(0, 1), targets.flatten())
            loss.backward()
            optimizer.step()
            total += loss.item() * len(tokens)
        print(f"epoch {epoch + 1}: loss {total / 640:.3f}, test perplexity "
              f"{perplexity(model, test_loader, criterion):.2f}")


if __name__ == "__main__":
    main()
