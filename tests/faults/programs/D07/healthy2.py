"""The genes are chosen by the training rows only."""
import numpy as np
import torch
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def load_genes(rows, genes):
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(rows) % 2)
    X = rng.normal(size=(rows, genes)).astype(np.float32)
    X[:, rng.choice(genes, 12, replace=False)] += 0.5 * (y[:, None] - 0.5)
    return X, y


def main():
    torch.manual_seed(0)
    X, y = load_genes(400, 4000)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.25, random_state=0, stratify=y)
    selector = SelectKBest(f_classif, k=40).fit(X_train, y_train)
    X_train, X_test = selector.transform(X_train), selector.transform(X_test)

    train_set = TensorDataset(torch.tensor(X_train), torch.tensor(y_train))
    train_loader = DataLoader(train_set, batch_size=20, shuffle=True)
    net = nn.Sequential(nn.Linear(40, 16), nn.ReLU(), nn.Linear(16, 2))
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.003)
    for epoch in range(10):
        net.train()
        total = 0.0
        for inputs, targets in train_loader:
            optimizer.zero_grad()
            loss = loss_fn(net(inputs), targets)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(targets)
        print(f"epoch {epoch + 1}: train loss {total / len(y_train):.3f}")

    net.eval()
    with torch.no_grad():
        predicted = net(torch.tensor(X_test)).argmax(dim=1).numpy()
    print(f"test accuracy {(predicted == y_test).mean():.3f}")


if __name__ == "__main__":
    main()
