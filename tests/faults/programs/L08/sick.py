"""Two thirds of the target positions are padding and all of them are scored: the loss and the perplexity
look excellent because predicting padding after padding is free, and the words get only a third of the
gradient."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

PAD = 0


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(30, 24, padding_idx=PAD)
        self.rnn = nn.GRU(24, 32, batch_first=True)
        self.out = nn.Linear(32, 30)

    def forward(self, tokens):
        hidden, _ = self.rnn(self.embed(tokens))
        return self.out(hidden).transpose(1, 2)            # (batch, vocabulary, time)


def chain(count, length, vocab, generator):
    successors = torch.stack([torch.randperm(vocab - 1, generator=generator)[:4] + 1 for _ in range(vocab)])
    weights = torch.tensor([0.6, 0.2, 0.1, 0.1])
    tokens = torch.zeros(count, length, dtype=torch.long)
    tokens[:, 0] = torch.randint(1, vocab, (count,), generator=generator)
    for t in range(1, length):
        choice = torch.multinomial(weights, count, replacement=True, generator=generator)
        tokens[:, t] = successors[tokens[:, t - 1], choice]
    return tokens


def data():
    generator = torch.Generator().manual_seed(0)
    tokens = chain(600, 40, 30, generator)
    lengths = torch.randint(10, 19, (600,), generator=generator)
    tokens[torch.arange(40) >= lengths[:, None]] = PAD
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    return (inputs[:480], targets[:480]), (inputs[480:], targets[480:])


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 0.01}


def main():
    torch.manual_seed(0)
    (train_inputs, train_targets), (test_inputs, test_targets) = data()
    net = Net()
    criterion = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    loader = DataLoader(TensorDataset(train_inputs, train_targets), batch_size=40, shuffle=True)
    for epoch in range(6):
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
        real = test_targets != PAD
        accuracy = (outputs.argmax(dim=1)[real] == test_targets[real]).float().mean().item()
        print(f"epoch {epoch + 1}: loss {total / len(train_inputs):.4f}, test loss {test_loss:.4f} "
              f"(perplexity {2.71828 ** test_loss:.2f}), accuracy on real tokens {accuracy:.3f}")


if __name__ == "__main__":
    main()
