"""Only positions with a real label are counted, in the numerator and in the denominator."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

PAD, IGNORE = 0, -100


class Tagger(nn.Module):
    def __init__(self, vocab=13, hidden=32, tags=3):
        super().__init__()
        self.embedding = nn.Embedding(vocab, 16, padding_idx=PAD)
        self.lstm = nn.LSTM(16, hidden, batch_first=True)
        self.classifier = nn.Linear(hidden, tags)

    def forward(self, tokens):
        return self.classifier(self.lstm(self.embedding(tokens))[0])


def make_data(n, seed, longest=12):
    """Sentences of four to twelve words; a word's tag depends on the word and the one before."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, 13, (n, longest), generator=generator)
    before = tokens.roll(1, dims=1) * (torch.arange(longest) > 0)
    tags = (tokens // 4 + (before % 2 == 0)) % 3
    outside = torch.arange(longest) >= torch.randint(4, longest + 1, (n, 1), generator=generator)
    return TensorDataset(tokens.masked_fill(outside, PAD), tags.masked_fill(outside, IGNORE))


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(make_data(640, seed=1), batch_size=32, shuffle=True)
    val_loader = DataLoader(make_data(200, seed=2), batch_size=50)
    model = Tagger()
    criterion = nn.CrossEntropyLoss(ignore_index=IGNORE)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for epoch in range(6):
        model.train()
        loss_sum = words = 0
        for tokens, tags in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(tokens).transpose(1, 2), tags)
            loss.backward()
            optimizer.step()
            n = (tags != IGNORE).sum().item()
            loss_sum += loss.item() * n
            words += n
        model.eval()
        correct = total = 0
        with torch.no_grad():
            for tokens, tags in val_loader:
                predicted = model(tokens).argmax(dim=-1)
                scored = tags != IGNORE
                correct += (predicted == tags)[scored].sum().item()
                total += scored.sum().item()
        print(f"epoch {epoch + 1}: loss {loss_sum / words:.3f}, val accuracy {correct / total:.3f}")


if __name__ == "__main__":
    main()
