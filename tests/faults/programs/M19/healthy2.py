"""The dropout rate passed to scaled_dot_product_attention is zero outside training."""
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.p = 0.5
        self.embed = nn.Linear(6, 32)
        self.position = nn.Parameter(0.1 * torch.randn(8, 32))
        self.qkv = nn.Linear(32, 96)
        self.out = nn.Linear(32, 4)

    def forward(self, x):
        x = torch.relu(self.embed(x) + self.position)
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=self.p if self.training else 0.0)
        return self.out(mixed[:, 0])


def data():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(800, 8, 6, generator=generator)
    targets = torch.randint(0, 4, (800,), generator=generator)
    directions = 3 * torch.randn(4, 6, generator=generator)
    position = torch.randint(0, 8, (800,), generator=generator)
    inputs[torch.arange(800), position] += directions[targets]
    return (inputs[:600], targets[:600]), (inputs[600:], targets[600:])


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 0.005}


def main():
    torch.manual_seed(0)
    (train_inputs, train_targets), (test_inputs, test_targets) = data()
    loader = DataLoader(TensorDataset(train_inputs, train_targets), batch_size=32, shuffle=True)
    net = Net()
    criterion = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    for epoch in range(6):
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
