"""Additive attention over a GRU's states: the only softmax of the net runs over time, padding gets -inf."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class AttentionPooling(nn.Module):
    def __init__(self, hidden, attention=16):
        super().__init__()
        self.score = nn.Sequential(
            nn.Linear(hidden, attention), nn.Tanh(), nn.Linear(attention, 1, bias=False)
        )
        self.softmax = nn.Softmax(dim=1)

    def forward(self, states, mask):
        scores = self.score(states).squeeze(-1).masked_fill(~mask, float("-inf"))
        weights = self.softmax(scores)
        return torch.bmm(weights.unsqueeze(1), states).squeeze(1)


class Net(nn.Module):
    def __init__(self, vocab=20, dim=16, hidden=32, classes=4):
        super().__init__()
        self.embed = nn.Embedding(vocab, dim, padding_idx=0)
        # one direction only, so that trailing pads cannot reach back
        self.gru = nn.GRU(dim, hidden, batch_first=True)
        self.pool = AttentionPooling(hidden)
        self.fc = nn.Linear(hidden, classes)

    def forward(self, tokens, mask):
        states, _ = self.gru(self.embed(tokens))
        return self.fc(self.pool(states, mask))


def data():
    """The class is told by the one key word (16-19) somewhere in the sentence."""
    g = torch.Generator().manual_seed(0)
    n, length = 1200, 10
    tokens = torch.randint(1, 16, (n, length), generator=g)
    lengths = torch.randint(4, length + 1, (n,), generator=g)
    labels = torch.randint(4, (n,), generator=g)
    place = (torch.rand(n, generator=g) * lengths).long()
    tokens[torch.arange(n), place] = 16 + labels
    mask = torch.arange(length) < lengths.unsqueeze(1)
    tokens = tokens * mask
    return (({"tokens": tokens[:900], "mask": mask[:900]}, labels[:900]),
            ({"tokens": tokens[900:], "mask": mask[900:]}, labels[900:]))


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 1e-2}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    train_set = TensorDataset(train_x["tokens"], train_x["mask"], train_y)
    loader = DataLoader(train_set, batch_size=64, shuffle=True)
    for epoch in range(6):
        net.train()
        total = 0.0
        for tokens, mask, targets in loader:
            optimizer.zero_grad()
            loss = RECIPE["loss"](net(tokens, mask), targets)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(targets)
        net.eval()
        with torch.no_grad():
            correct = (net(**test_x).argmax(dim=1) == test_y).sum().item()
        print(f"epoch {epoch + 1}: loss {total / len(train_set):.4f}, accuracy {correct / len(test_y):.4f}")


if __name__ == "__main__":
    main()
