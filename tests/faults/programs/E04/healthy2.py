"""The validation loader is made from rows of its own, split off the training set."""
import copy

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


def make_data(n, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 10, generator=generator)
    y = torch.sin(2 * x[:, 0]) + 0.6 * x[:, 1] * x[:, 2] + 0.5 * x[:, 3]
    return TensorDataset(x, (y + 0.3 * torch.randn(n, generator=generator)).unsqueeze(1))


def train_one_epoch(model, loader, loss_fn, optimizer):
    model.train()
    for x, y in loader:
        optimizer.zero_grad()
        loss_fn(model(x), y).backward()
        optimizer.step()


def evaluate(model, loader, loss_fn):
    model.eval()
    with torch.no_grad():
        return sum(loss_fn(model(x), y).item() * len(x) for x, y in loader) / len(loader.dataset)


def main():
    torch.manual_seed(0)
    train_set, test_set = make_data(500, seed=1), make_data(200, seed=2)
    train_set, val_set = random_split(train_set, [400, 100], generator=torch.Generator().manual_seed(0))
    train_loader = DataLoader(train_set, batch_size=25, shuffle=True)
    val_loader = DataLoader(val_set, batch_size=50)
    test_loader = DataLoader(test_set, batch_size=50)

    model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    loss_fn = nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    best_loss, best_state, patience = float("inf"), None, 5
    for epoch in range(60):
        train_one_epoch(model, train_loader, loss_fn, optimizer)
        val_loss = evaluate(model, val_loader, loss_fn)
        print(f"epoch {epoch + 1}: val {val_loss:.3f}")
        if val_loss < best_loss:
            best_loss, best_state, patience = val_loss, copy.deepcopy(model.state_dict()), 5
        else:
            patience -= 1
            if patience == 0:
                break
    model.load_state_dict(best_state)
    print(f"test {evaluate(model, test_loader, loss_fn):.3f}")


if __name__ == "__main__":
    main()
