"""A bidirectional LSTM on packed sequences; the last states of both directions are classified."""
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self, vocab_size=21, embedding_dim=16, hidden_dim=24, output_dim=4):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embedding_dim, padding_idx=0)
        self.rnn = nn.LSTM(embedding_dim, hidden_dim, num_layers=1, bidirectional=True, batch_first=True)
        self.fc = nn.Linear(hidden_dim * 2, output_dim)
        self.dropout = nn.Dropout(0.2)

    def forward(self, tokens, lengths):
        embedded = self.dropout(self.embedding(tokens))
        packed = pack_padded_sequence(embedded, lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, (hidden, _) = self.rnn(packed)
        hidden = self.dropout(torch.cat((hidden[-2], hidden[-1]), dim=1))
        return self.fc(hidden)


def data():
    """Four kinds of sentences: is the first word small or large, and the last real one."""
    g = torch.Generator().manual_seed(0)
    n, length = 1200, 10
    tokens = torch.randint(1, 21, (n, length), generator=g)
    lengths = torch.randint(4, length + 1, (n,), generator=g)
    tokens = tokens * (torch.arange(length) < lengths.unsqueeze(1))
    last = tokens[torch.arange(n), lengths - 1]
    labels = (tokens[:, 0] > 10).long() * 2 + (last > 10).long()
    return (({"tokens": tokens[:900], "lengths": lengths[:900]}, labels[:900]),
            ({"tokens": tokens[900:], "lengths": lengths[900:]}, labels[900:]))


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 1e-2}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    train_set = TensorDataset(train_x["tokens"], train_x["lengths"], train_y)
    loader = DataLoader(train_set, batch_size=64, shuffle=True)
    for epoch in range(8):
        net.train()
        total = 0.0
        for tokens, lengths, targets in loader:
            optimizer.zero_grad()
            loss = RECIPE["loss"](net(tokens, lengths), targets)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(targets)
        net.eval()
        with torch.no_grad():
            correct = (net(**test_x).argmax(dim=1) == test_y).sum().item()
        print(f"epoch {epoch + 1}: loss {total / len(train_set):.4f}, accuracy {correct / len(test_y):.4f}")


if __name__ == "__main__":
    main()
