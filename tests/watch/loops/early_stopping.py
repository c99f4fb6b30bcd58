"""Early stopping on a validation set: the best weights are kept as a deep copy, the test set is seen once."""
import copy
import hashlib

import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset


def make_loaders():
    x, y = load_digits(return_X_y=True)
    x_rest, x_test, y_rest, y_test = train_test_split(x / 16.0, y, test_size=300, random_state=7, stratify=y)
    x_train, x_val, y_train, y_val = train_test_split(
        x_rest, y_rest, test_size=300, random_state=7, stratify=y_rest
    )

    def loader(a, b, shuffle=False):
        dataset = TensorDataset(torch.tensor(a, dtype=torch.float32), torch.tensor(b))
        return DataLoader(dataset, batch_size=50, shuffle=shuffle)

    return loader(x_train, y_train, shuffle=True), loader(x_val, y_val), loader(x_test, y_test)


def run_epoch(model, loader, criterion, optimizer=None):
    training = optimizer is not None
    model.train(training)
    loss_sum, hits, count = 0.0, 0, 0
    with torch.set_grad_enabled(training):
        for x, y in loader:
            out = model(x)
            loss = criterion(out, y)
            if training:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            loss_sum += loss.item() * len(y)
            hits += (out.argmax(1) == y).sum().item()
            count += len(y)
    return loss_sum / count, hits / count


def main():
    torch.manual_seed(7)
    train_loader, val_loader, test_loader = make_loaders()
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 10))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

    best_loss, best_state, patience, bad_epochs = float("inf"), None, 3, 0
    for epoch in range(20):
        train_loss, _ = run_epoch(model, train_loader, criterion, optimizer)
        val_loss, val_acc = run_epoch(model, val_loader, criterion)
        print("epoch", epoch, "train", train_loss, "val", val_loss, val_acc)
        if val_loss < best_loss:
            best_loss, bad_epochs = val_loss, 0
            best_state = copy.deepcopy(model.state_dict())
        else:
            bad_epochs += 1
            if bad_epochs >= patience:
                print("early stop at epoch", epoch)
                break

    model.load_state_dict(best_state)
    print("best val", best_loss, "test", *run_epoch(model, test_loader, criterion))
    digest = hashlib.sha256()
    for key in sorted(best_state):
        digest.update(model.state_dict()[key].numpy().tobytes())
    print("sha256", digest.hexdigest())


if __name__ == "__main__":
    main()
