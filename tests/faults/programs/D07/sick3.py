"""The rare class is multiplied by copying its rows before the split: copies of training rows are in the
test, which therefore promises a recall that new cases will not see."""
import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def load_claims(rows):
    rng = np.random.default_rng(0)
    y = (rng.permutation(rows) < 0.12 * rows).astype(np.int64)
    X = rng.normal(size=(rows, 16)).astype(np.float32)
    X[y == 1, :5] += 0.7
    return X, y


def oversample(X, y, rng):
    rare = np.flatnonzero(y == 1)
    extra = rng.choice(rare, (y == 0).sum() - len(rare))
    rows = rng.permutation(np.concatenate([np.arange(len(y)), extra]))
    return X[rows], y[rows]


def main():
    torch.manual_seed(0)
    rng = np.random.default_rng(1)
    X, y = load_claims(700)
    X, y = oversample(X, y, rng)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, random_state=0, stratify=y)

    train_set = TensorDataset(torch.tensor(X_train), torch.tensor(y_train))
    train_loader = DataLoader(train_set, batch_size=50, shuffle=True)
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 2))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for epoch in range(12):
        model.train()
        total = 0.0
        for xb, yb in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(xb), yb)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(yb)
        print(f"epoch {epoch + 1}: train loss {total / len(y_train):.3f}")

    model.eval()
    with torch.no_grad():
        predicted = model(torch.tensor(X_test)).argmax(dim=1).numpy()
    recall, false_alarms = predicted[y_test == 1].mean(), predicted[y_test == 0].mean()
    print(f"test recall {recall:.3f}, false alarms {false_alarms:.3f}")


if __name__ == "__main__":
    main()
