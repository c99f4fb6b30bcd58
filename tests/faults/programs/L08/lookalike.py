"""The end mark is also the padding, as in many language models: one end mark a sentence is scored so that
the model learns to stop, and the filling behind it is left out with -100."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

EOS = 0


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(30, 24)
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
    tokens = chain(600, 30, 30, generator)
    lengths = torch.randint(10, 19, (600,), generator=generator)
    tokens[torch.arange(30) >= lengths[:, None]] = EOS
    inputs, targets = tokens[:, :-1], tokens[:, 1:].clone()
    targets[inputs == EOS] = -100               # the first EOS is scored, the filling behind it is not
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
        scored = test_targets != -100
        accuracy = (outputs.argmax(dim=1)[scored] == test_targets[scored]).float().mean().item()
        print(f"epoch {epoch + 1}: loss {total / len(train_inputs):.4f}, test loss {test_loss:.4f}, "
              f"accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
