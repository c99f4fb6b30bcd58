"""Each fold makes its model and the optimizer of that model."""
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold
from torch import nn


def make_model():
    return nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))


def main():
    torch.manual_seed(0)
    X, y = load_digits(return_X_y=True)
    X = torch.tensor((X / 16 - 0.305) / 0.376, dtype=torch.float32)
    y = torch.tensor(y)
    criterion = nn.CrossEntropyLoss()
    scores = []
    folds = StratifiedKFold(n_splits=4, shuffle=True, random_state=0)
    for fold, (train_idx, val_idx) in enumerate(folds.split(X, y)):
        model = make_model()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
        for epoch in range(5):
            model.train()
            order = torch.tensor(train_idx)[torch.randperm(len(train_idx))]
            for batch in order.split(50):
                optimizer.zero_grad()
                loss = criterion(model(X[batch]), y[batch])
                loss.backward()
                optimizer.step()
        model.eval()
        with torch.no_grad():
            accuracy = (model(X[val_idx]).argmax(1) == y[val_idx]).float().mean().item()
        scores.append(accuracy)
        print(f"fold {fold}: loss {loss.item():.3f}, accuracy {accuracy:.3f}")
    print(f"mean accuracy {np.mean(scores):.3f} +- {np.std(scores):.3f}")


if __name__ == "__main__":
    main()
