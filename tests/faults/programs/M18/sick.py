"""Dropout1d expects (batch, channels, length) but is given the embeddings as (batch, length, channels): it
removes whole words instead of whole features, often the only word that decides the class."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(30, 16)
        self.drop = nn.Dropout1d(0.3)
        self.conv = nn.Conv1d(16, 32, kernel_size=3, padding=1)
        self.out = nn.Linear(32, 4)

    def forward(self, tokens):
        x = self.drop(self.embed(tokens))
        x = torch.relu(self.conv(x.transpose(1, 2)))
        return self.out(x.amax(dim=2))


def data():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(4, 30, (800, 12), generator=generator)
    targets = torch.randint(0, 4, (800,), generator=generator)
    position = torch.randint(0, 12, (800,), generator=generator)
    tokens[torch.arange(800), position] = targets
    return (tokens[:600], targets[:600]), (tokens[600:], targets[600:])


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 0.005}


def main():
    torch.manual_seed(0)
    (train_inputs, train_targets), (test_inputs, test_targets) = data()
    loader = DataLoader(TensorDataset(train_inputs, train_targets), batch_size=32, shuffle=True)
    net = Net()
    criterion = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    for epoch in range(12):
        net.train()
        total = 0.0
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = criterion(net(inputs), targets)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(targets)
        net.eval()
        with torch.no_grad():
            outputs = net(test_inputs)
            accuracy = (outputs.argmax(1) == test_targets).float().mean().item()
        print(f"epoch {epoch + 1}: train loss {total / len(train_targets):.4f}, test accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
