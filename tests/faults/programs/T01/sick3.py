"""Of the two optimizers only the decoder's is set to zero before backward: the encoder steps along the sum
of all gradients since the start and learns far worse."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Encoder(nn.Module):
    def __init__(self, vocab=12, hidden=32):
        super().__init__()
        self.embedding = nn.Embedding(vocab, 16)
        self.gru = nn.GRU(16, hidden, batch_first=True)

    def forward(self, tokens):
        _, hidden = self.gru(self.embedding(tokens))
        return hidden[-1]


def make_data(n, seed):
    """Which of three groups of four letters is the most frequent in a word of nine letters?"""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, 12, (n, 9), generator=generator)
    counts = torch.stack([(tokens // 4 == k).sum(dim=1) for k in range(3)], dim=1)
    return TensorDataset(tokens, counts.argmax(dim=1))


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(make_data(800, seed=1), batch_size=32, shuffle=True)
    test_loader = DataLoader(make_data(200, seed=2), batch_size=50)
    encoder = Encoder()
    decoder = nn.Linear(32, 3)
    encoder_optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1, momentum=0.9)
    decoder_optimizer = torch.optim.SGD(decoder.parameters(), lr=0.1, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(8):
        encoder.train()
        decoder.train()
        epoch_loss = 0.0
        for tokens, labels in train_loader:
            decoder_optimizer.zero_grad()
            loss = criterion(decoder(encoder(tokens)), labels)
            loss.backward()
            encoder_optimizer.step()
            decoder_optimizer.step()
            epoch_loss += loss.item() * len(labels)
        encoder.eval()
        decoder.eval()
        hits = 0
        with torch.no_grad():
            for tokens, labels in test_loader:
                hits += (decoder(encoder(tokens)).argmax(dim=1) == labels).sum().item()
        print(f"epoch {epoch + 1}: loss {epoch_loss / 800:.3f}, test accuracy {hits / 200:.3f}")


if __name__ == "__main__":
    main()
