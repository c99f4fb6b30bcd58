"""skorch: a module behind scikit-learn's interface, its own validation split, score on a test set."""
import hashlib

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from skorch import NeuralNetClassifier
from torch import nn


class ClassifierModule(nn.Module):
    def __init__(self, num_units=64, dropout=0.3):
        super().__init__()
        self.dense0 = nn.Linear(64, num_units)
        self.nonlin = nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        self.dense1 = nn.Linear(num_units, num_units)
        self.output = nn.Linear(num_units, 10)

    def forward(self, X):
        X = self.nonlin(self.dense0(X))
        X = self.dropout(X)
        X = self.nonlin(self.dense1(X))
        return self.output(X)


def main():
    torch.manual_seed(10)
    X, y = load_digits(return_X_y=True)
    X, y = (X / 16).astype(np.float32), y.astype(np.int64)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=300, random_state=10, stratify=y)

    net = NeuralNetClassifier(
        ClassifierModule,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=5e-3,
        max_epochs=8,
        batch_size=64,
        iterator_train__shuffle=True,
        verbose=0,
    )
    net.fit(X_train, y_train)
    for row in net.history:
        print("epoch", row["epoch"], row["train_loss"], row["valid_loss"], row["valid_acc"])
    print("test accuracy", net.score(X_test, y_test))
    digest = hashlib.sha256(b"".join(v.numpy().tobytes() for v in net.module_.state_dict().values()))
    print("sha256", digest.hexdigest())


if __name__ == "__main__":
    main()
