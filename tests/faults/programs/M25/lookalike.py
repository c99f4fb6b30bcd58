"""The mask is applied, but every sequence of this data has full length, so the mask is all ones and
shuffling it between samples changes nothing: the input is used, it just carries no information here."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(30, 16)
        self.conv = nn.Conv1d(16, 32, kernel_size=3, padding=1)
        self.out = nn.Linear(32, 4)

    def forward(self, tokens, mask):
        x = torch.relu(self.conv(self.embed(tokens).transpose(1, 2)))
        x = x.masked_fill(~mask.unsqueeze(1), 0.0)
        return self.out(x.amax(dim=2))


def data():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(4, 30, (800, 12), generator=generator)
    targets = torch.randint(0, 4, (800,), generator=generator)
    position = torch.randint(0, 12, (800,), generator=generator)
    tokens[torch.arange(800), position] = targets
    mask = torch.ones(800, 12, dtype=torch.bool)
    train = {"tokens": tokens[:600], "mask": mask[:600]}
    test = {"tokens": tokens[600:], "mask": mask[600:]}
    return (train, targets[:600]), (test, targets[600:])


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 0.005}


def main():
    torch.manual_seed(0)
    (train, train_targets), (test, test_targets) = data()
    train_set = TensorDataset(train["tokens"], train["mask"], train_targets)
    loader = DataLoader(train_set, batch_size=32, shuffle=True)
    net = Net()
    criterion = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    for epoch in range(8):
        net.train()
        total = 0.0
        for tokens, mask, targets in loader:
            optimizer.zero_grad()
            loss = criterion(net(tokens, mask), targets)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(targets)
        net.eval()
        with torch.no_grad():
            outputs = net(test["tokens"], test["mask"])
            accuracy = (outputs.argmax(1) == test_targets).float().mean().item()
        print(f"epoch {epoch + 1}: train loss {total / len(train_set):.4f}, test accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
