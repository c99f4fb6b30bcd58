"""Two classes with one logit: squeezed to the shape of the targets, BCEWithLogitsLoss, threshold 0."""
import torch
from sklearn.datasets import load_breast_cancer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self, n_features=30):
        super().__init__()
        self.layer_1 = nn.Linear(n_features, 32)
        self.layer_2 = nn.Linear(32, 16)
        self.layer_out = nn.Linear(16, 1)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(p=0.1)
        self.batchnorm1 = nn.BatchNorm1d(32)

    def forward(self, inputs):
        x = self.relu(self.layer_1(inputs))
        x = self.batchnorm1(x)
        x = self.relu(self.layer_2(x))
        x = self.dropout(x)
        return self.layer_out(x).squeeze(-1)


def data():
    cancer = load_breast_cancer()
    x, y = torch.tensor(cancer.data), torch.tensor(cancer.target, dtype=torch.float32)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, test = order[:400], order[400:]
    x = ((x - x[train].mean(0)) / x[train].std(0)).float()
    return (x[train], y[train]), (x[test], y[test])


RECIPE = {"loss": nn.BCEWithLogitsLoss(), "optimizer": torch.optim.Adam, "lr": 5e-3}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    model = Net()
    optimizer = RECIPE["optimizer"](model.parameters(), lr=RECIPE["lr"])
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=40, shuffle=True)
    for epoch in range(15):
        model.train()
        total, hits = 0.0, 0
        for x, y in loader:
            optimizer.zero_grad()
            logits = model(x)
            loss = RECIPE["loss"](logits, y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(x)
            hits += ((logits > 0).float() == y).sum().item()
        model.eval()
        with torch.no_grad():
            accuracy = ((torch.sigmoid(model(test_x)) > 0.5).float() == test_y).float().mean().item()
        n = len(train_x)
        print(f"epoch {epoch + 1}: loss {total / n:.4f}, train {hits / n:.4f}, test accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
