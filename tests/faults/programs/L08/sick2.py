"""The tag rows are filled up with 0, which is also the tag O: the padded positions, most of the batch, are
scored as correct O words, so loss and accuracy look better than the tagger is."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(40, 16, padding_idx=0)
        self.conv = nn.Conv1d(16, 32, 5, padding=2)
        self.out = nn.Linear(32, 3)

    def forward(self, tokens):
        hidden = torch.relu(self.conv(self.embed(tokens).transpose(1, 2)))
        return self.out(hidden.transpose(1, 2)).transpose(1, 2)        # (batch, tags, time)


def data():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, 40, (500, 32), generator=generator)
    lengths = torch.randint(8, 17, (500,), generator=generator)
    tokens[torch.arange(32) >= lengths[:, None]] = 0
    previous = torch.cat([torch.zeros(500, 1, dtype=torch.long), tokens[:, :-1]], dim=1)
    tags = torch.zeros((500, 32), dtype=torch.long)
    words = tokens > 0
    tags[words] = 0                                                    # O
    tags[words & (tokens > 28)] = 1                                    # name
    tags[words & (tokens <= 28) & (previous > 33)] = 2                 # word after a title
    return (tokens[:400], tags[:400]), (tokens[400:], tags[400:])


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
            predictions = net(test_inputs).argmax(dim=1)
        scored = test_targets != -100
        accuracy = (predictions[scored] == test_targets[scored]).float().mean().item()
        found = (predictions[test_targets == 2] == 2).float().mean().item()
        print(f"epoch {epoch + 1}: loss {total / len(train_inputs):.4f}, test accuracy {accuracy:.3f}, "
              f"recall of tag 2 {found:.3f}")


if __name__ == "__main__":
    main()
