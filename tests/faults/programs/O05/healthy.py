"""The last layer is two tensors, weight and bias; both stay trainable on the fixed features."""
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Linear(64, 40)
        self.head = nn.Linear(40, 10)
        self.load_features()
        for parameter in list(self.parameters())[:-2]:          # everything but the last layer
            parameter.requires_grad = False

    def load_features(self):
        pca = PCA(20, whiten=True, random_state=0).fit(data()[0][0].numpy())
        scaled = pca.components_ / pca.explained_variance_[:, None] ** 0.5
        components = torch.tensor(scaled, dtype=torch.float32)
        offsets = components @ torch.tensor(pca.mean_, dtype=torch.float32)
        with torch.no_grad():
            self.features.weight.copy_(torch.cat([components, -components]))
            self.features.bias.copy_(torch.cat([-offsets, offsets]))

    def forward(self, x):
        return self.head(torch.relu(self.features(x)))


def data():
    digits = load_digits()
    inputs = (torch.tensor(digits.data, dtype=torch.float32) / 16 - 0.305) / 0.376
    targets = torch.tensor(digits.target)
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))
    inputs, targets = inputs[order], targets[order]
    return (inputs[:1400], targets[:1400]), (inputs[1400:], targets[1400:])


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 0.01}


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
