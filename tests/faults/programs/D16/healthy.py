"""Each picture is in the training set once, with the label that at least two of the three people gave;
pictures without such a label are left out."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, x):
        return self.layers(x)


def annotate(labels, generator):
    """Three answers for each picture; each person is wrong in a quarter of the cases."""
    answers = labels.repeat(3, 1)
    wrong = torch.rand(answers.shape, generator=generator) < 0.25
    return torch.where(wrong, torch.randint(0, 10, answers.shape, generator=generator), answers)


def data():
    digits = load_digits()
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(digits.target), generator=generator)[:600]
    images = (torch.tensor(digits.images, dtype=torch.float32)[order] / 16 - 0.305) / 0.376
    labels = torch.tensor(digits.target)[order]
    answers = annotate(labels[:400], generator)
    majority = answers.mode(dim=0).values
    agreed = (answers == majority).sum(dim=0) >= 2
    train_images = images[:400][agreed]
    train_labels = majority[agreed]
    return (train_images, train_labels), (images[400:], labels[400:])


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 0.003}


def main():
    torch.manual_seed(0)
    (train_inputs, train_targets), (test_inputs, test_targets) = data()
    loader = DataLoader(TensorDataset(train_inputs, train_targets), batch_size=32, shuffle=True)
    net = Net()
    loss_fn = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    for epoch in range(12):
        net.train()
        total = 0.0
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = loss_fn(net(inputs), targets)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(targets)
        net.eval()
        with torch.no_grad():
            accuracy = (net(test_inputs).argmax(dim=1) == test_targets).float().mean().item()
        print(f"epoch {epoch + 1}: train loss {total / len(train_targets):.3f}, test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
