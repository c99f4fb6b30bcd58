"""KLDivLoss expects log-probabilities as its first argument but gets probabilities: the loss is negative
and lowest where all the weight is on the largest share, so the predicted shares are wrong."""
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(8, 48)
        self.fc2 = nn.Linear(48, 5)

    def forward(self, x):
        x = F.relu(self.fc1(x))
        return F.softmax(self.fc2(x), dim=1)


def data():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(800, 8, generator=generator)
    mixing = torch.randn(8, 5, generator=generator)
    targets = torch.softmax(1.2 * torch.tanh(inputs) @ mixing, dim=1)  # shares of five answers
    return (inputs[:600], targets[:600]), (inputs[600:], targets[600:])


RECIPE = {"loss": nn.KLDivLoss(reduction="batchmean"), "optimizer": torch.optim.Adam, "lr": 0.003}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    train_loader = DataLoader(TensorDataset(train_x, train_y), batch_size=50, shuffle=True)
    model = Net()
    loss_fn = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](model.parameters(), lr=RECIPE["lr"])

    for epoch in range(12):
        model.train()
        losses = []
        for x, y in train_loader:
            loss = loss_fn(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}: train loss {sum(losses) / len(losses):.4f}")

    model.eval()
    with torch.no_grad():
        error = (model(test_x) - test_y).abs().mean().item()
    print(f"test mean error {error:.4f}")


if __name__ == "__main__":
    main()
