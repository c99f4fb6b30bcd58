"""Plain SGD for rare words and attention: the row of a word moves only in the few batches that hold the
word, so even with a learning rate as high as SGD can bear the same training ends far behind."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(400, 24, padding_idx=0)
        self.query = nn.Parameter(torch.randn(24) / 24 ** 0.5)
        self.keys = nn.Linear(24, 24)
        self.out = nn.Linear(24, 4)

    def forward(self, tokens):
        words = self.embed(tokens)
        scores = torch.tanh(self.keys(words)) @ self.query
        weights = torch.softmax(scores.masked_fill(tokens == 0, -1e9), dim=1)
        return self.out((weights[:, :, None] * words).sum(dim=1))


def data():
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 4, (900,), generator=generator)
    common = torch.randint(1, 200, (900, 16), generator=generator)               # words of any topic
    topical = 200 + 50 * targets[:, None] + torch.randint(0, 50, (900, 16), generator=generator)
    tokens = torch.where(torch.rand(900, 16, generator=generator) < 0.2, topical, common)
    lengths = torch.randint(10, 17, (900,), generator=generator)
    tokens[torch.arange(16) >= lengths[:, None]] = 0
    return (tokens[:700], targets[:700]), (tokens[700:], targets[700:])


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.SGD, "lr": 1.0}


def main():
    torch.manual_seed(0)
    (train_inputs, train_targets), (test_inputs, test_targets) = data()
    net = Net()
    criterion = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    loader = DataLoader(TensorDataset(train_inputs, train_targets), batch_size=50, shuffle=True)
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
            accuracy = (net(test_inputs).argmax(dim=1) == test_targets).float().mean().item()
        print(f"epoch {epoch + 1}: loss {total / len(train_inputs):.4f}, test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
