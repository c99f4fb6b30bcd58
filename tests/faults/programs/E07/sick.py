"""The test calls model(source, target) with the teacher forcing of training left on: half of the time the
decoder is fed the right last note, and the accuracy is higher than the network alone can reach."""
import random

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

VOCAB, START = 10, 10


class Seq2Seq(nn.Module):
    def __init__(self, hidden=48):
        super().__init__()
        self.embedding = nn.Embedding(VOCAB + 1, 16)
        self.encoder = nn.GRU(16, hidden, batch_first=True)
        self.decoder = nn.GRUCell(16, hidden)
        self.out = nn.Linear(hidden, VOCAB)

    def forward(self, source, target, teacher_forcing_ratio=0.5):
        state = self.encoder(self.embedding(source))[1][0]
        note = torch.full((len(source),), START)
        outputs = []
        for t in range(target.size(1)):
            state = self.decoder(self.embedding(note), state)
            outputs.append(self.out(state))
            teacher = random.random() < teacher_forcing_ratio
            note = target[:, t] if teacher else outputs[-1].argmax(dim=1)
        return torch.stack(outputs, dim=1)


def make_melodies(n, seed):
    """Six notes and the next eight: most notes follow from the one before, one in six is a surprise."""
    generator = torch.Generator().manual_seed(seed)
    notes = torch.randint(0, VOCAB, (n, 14), generator=generator)
    surprise = torch.rand(n, 14, generator=generator) < 1 / 6
    for t in range(1, 14):
        notes[:, t] = torch.where(surprise[:, t], notes[:, t], (3 * notes[:, t - 1] + 4) % VOCAB)
    return TensorDataset(notes[:, :6], notes[:, 6:])


def main():
    random.seed(0)
    torch.manual_seed(0)
    train_loader = DataLoader(make_melodies(1000, seed=1), batch_size=50, shuffle=True)
    test_loader = DataLoader(make_melodies(200, seed=2), batch_size=50)
    model = Seq2Seq()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for epoch in range(8):
        model.train()
        total_loss = 0.0
        for source, target in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(source, target).flatten(0, 1), target.flatten())
            loss.backward()
            optimizer.step()
            total_loss += loss.item() * len(source)
        model.eval()
        correct = 0
        with torch.no_grad():
            for source, target in test_loader:
                outputs = model(source, target)
                correct += (outputs.argmax(dim=2) == target).sum().item()
        print(f"epoch {epoch + 1}: loss {total_loss / 1000:.3f}, test accuracy {correct / 1600:.3f}")


if __name__ == "__main__":
    main()
