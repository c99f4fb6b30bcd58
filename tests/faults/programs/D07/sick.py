"""The scaler is fitted on all rows before the split, so that the mean and spread of the test rows flow into
what the network is trained on; for plain scaling the effect is usually small, but the test is no longer
untouched."""
import numpy as np
import torch
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def load_table(rows):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(rows, 6))
    y = (z[:, 0] + z[:, 1] * z[:, 2] - z[:, 3] > 0).astype(np.int64)
    return z * [3.0, 12.0, 0.4, 25.0, 1.5, 8.0] + [10.0, 60.0, 1.0, 90.0, 5.0, 30.0], y


def main():
    torch.manual_seed(0)
    X, y = load_table(800)
    X = StandardScaler().fit_transform(X)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.25, random_state=0)

    train_set = TensorDataset(torch.tensor(X_train, dtype=torch.float32), torch.tensor(y_train))
    train_loader = DataLoader(train_set, batch_size=30, shuffle=True)
    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 2))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for epoch in range(12):
        model.train()
        losses = []
        for xb, yb in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(xb), yb)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}: train loss {np.mean(losses):.3f}")

    model.eval()
    with torch.no_grad():
        predicted = model(torch.tensor(X_test, dtype=torch.float32)).argmax(dim=1).numpy()
    print(f"test accuracy {(predicted == y_test).mean():.3f}")


if __name__ == "__main__":
    main()
