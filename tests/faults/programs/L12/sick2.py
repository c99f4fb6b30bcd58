"""The data already holds the next tokens as targets and the loss shifts once more: every position is
trained to tell the token after the next one, and a text generated with it skips every second token."""
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(30, 32)
        self.position = nn.Parameter(0.02 * torch.randn(24, 32))
        self.block = nn.TransformerEncoderLayer(32, 2, 64, dropout=0.0, batch_first=True)
        self.out = nn.Linear(32, 30)

    def forward(self, tokens):
        length = tokens.shape[1]
        hidden = self.embed(tokens) + self.position[:length]
        mask = torch.triu(torch.ones(length, length, dtype=torch.bool), diagonal=1)
        return self.out(self.block(hidden, src_mask=mask))


def chain(count, length, vocab, generator):
    successors = torch.stack([torch.randperm(vocab, generator=generator)[:4] for _ in range(vocab)])
    weights = torch.tensor([0.6, 0.2, 0.1, 0.1])
    tokens = torch.zeros(count, length, dtype=torch.long)
    tokens[:, 0] = torch.randint(0, vocab, (count,), generator=generator)
    for t in range(1, length):
        choice = torch.multinomial(weights, count, replacement=True, generator=generator)
        tokens[:, t] = successors[tokens[:, t - 1], choice]
    return tokens


def data():
    tokens = chain(500, 25, 30, torch.Generator().manual_seed(0))
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    return (inputs[:400], targets[:400]), (inputs[400:], targets[400:])


def token_loss(outputs, targets):
    outputs, targets = outputs[:, :-1], targets[:, 1:]
    return F.cross_entropy(outputs.flatten(0, 1), targets.flatten())


RECIPE = {"loss": token_loss, "optimizer": torch.optim.Adam, "lr": 0.005}


def main():
    torch.manual_seed(0)
    (train_inputs, train_targets), (test_inputs, test_targets) = data()
    net = Net()
    criterion = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    loader = DataLoader(TensorDataset(train_inputs, train_targets), batch_size=40, shuffle=True)
    for epoch in range(8):
        net.train()
        total = 0.0
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = criterion(net(inputs), targets)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(inputs)
        net.eval()
        with torch.no_grad():
            outputs = net(test_inputs)
            test_loss = criterion(outputs, test_targets).item()
        following = (outputs[:, :-1].argmax(dim=2) == test_inputs[:, 1:]).float().mean().item()
        print(f"epoch {epoch + 1}: loss {total / len(train_inputs):.4f}, test loss {test_loss:.4f}, "
              f"right about the next token {following:.3f}")


if __name__ == "__main__":
    main()
