"""The argument `lengths` is accepted but not used: the classifier reads the state after the last padding
position, where what the last real words said has to survive up to twenty steps of padding."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(21, 16, padding_idx=0)
        self.rnn = nn.GRU(16, 24, batch_first=True)
        self.out = nn.Linear(24, 4)

    def forward(self, tokens, lengths):
        states, _ = self.rnn(self.embed(tokens))
        last = states[:, -1]
        return self.out(last)


def data():
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(3, 25, (800,), generator=generator)
    tokens = torch.randint(1, 21, (800, 24), generator=generator)
    targets = (tokens[torch.arange(800), lengths - 1] - 1) // 5
    tokens = tokens * (torch.arange(24) < lengths[:, None])
    train = {"tokens": tokens[:600], "lengths": lengths[:600]}
    test = {"tokens": tokens[600:], "lengths": lengths[600:]}
    return (train, targets[:600]), (test, targets[600:])


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 0.01}


def main():
    torch.manual_seed(0)
    (train, train_targets), (test, test_targets) = data()
    train_set = TensorDataset(train["tokens"], train["lengths"], train_targets)
    loader = DataLoader(train_set, batch_size=32, shuffle=True)
    net = Net()
    criterion = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    for epoch in range(4):
        net.train()
        total = 0.0
        for tokens, lengths, targets in loader:
            optimizer.zero_grad()
            loss = criterion(net(tokens, lengths), targets)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(targets)
        net.eval()
        with torch.no_grad():
            outputs = net(test["tokens"], test["lengths"])
            accuracy = (outputs.argmax(1) == test_targets).float().mean().item()
        print(f"epoch {epoch + 1}: train loss {total / len(train_set):.4f}, test accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
