"""Domain-adversarial training on half moons: the domain head is behind a gradient reversal, on purpose."""
import torch
from sklearn.datasets import make_moons
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class ReverseLayerF(torch.autograd.Function):
    """Identity forward, gradient times -alpha backward: the encoder is to confuse the domain head."""

    @staticmethod
    def forward(ctx, x, alpha):
        ctx.alpha = alpha
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output.neg() * ctx.alpha, None


class Net(nn.Module):
    def __init__(self, alpha=0.3):
        super().__init__()
        self.alpha = alpha
        self.feature = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
        self.class_classifier = nn.Linear(32, 2)
        self.domain_classifier = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 2))

    def forward(self, x):
        feature = self.feature(x)
        reverse_feature = ReverseLayerF.apply(feature, self.alpha)
        return self.class_classifier(feature), self.domain_classifier(reverse_feature)


def dann_loss(outputs, targets):
    label, domain = outputs
    return F.cross_entropy(label, targets[:, 0], ignore_index=-100) + F.cross_entropy(domain, targets[:, 1])


def data():
    """Domain 0 has labels; domain 1 is turned by 35 degrees and has none (-100) in training."""
    points, labels = make_moons(1600, noise=0.1, random_state=0)
    x, y = torch.tensor(points, dtype=torch.float32), torch.tensor(labels)
    domain = torch.arange(1600) % 2
    angle = torch.tensor(35.0).deg2rad()
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    x = x - x[:1200].mean(0)
    x = torch.where(domain.bool().unsqueeze(1), x @ turn.T, x)
    train_y = torch.stack([torch.where(domain == 0, y, -100), domain], dim=1)
    test_y = torch.stack([y, domain], dim=1)
    return (x[:1200], train_y[:1200]), (x[1200:], test_y[1200:])


RECIPE = {"loss": dann_loss, "optimizer": torch.optim.Adam, "lr": 5e-3}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=64, shuffle=True)
    for epoch in range(16):
        net.train()
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = RECIPE["loss"](net(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(x)
        net.eval()
        with torch.no_grad():
            right = net(test_x)[0].argmax(1) == test_y[:, 0]
        scores = [right[test_y[:, 1] == d].float().mean().item() for d in (0, 1)]
        loss = total / len(train_x)
        print(f"epoch {epoch + 1}: loss {loss:.4f}, source {scores[0]:.4f}, target {scores[1]:.4f}")


if __name__ == "__main__":
    main()
