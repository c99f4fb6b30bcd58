"""The body is frozen with requires_grad=False, but stays in the optimizer with gradients set to zeros
instead of None: Adam's momentum and the weight decay go on changing the frozen weights."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


def run_epoch(model, loader, criterion, optimizer):
    model.train()
    total = 0.0
    for images, labels in loader:
        optimizer.zero_grad(set_to_none=False)
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(labels)
    return total / len(loader.dataset)


def evaluate(model, loader):
    model.eval()
    with torch.no_grad():
        hits = sum((model(x).argmax(dim=1) == y).sum().item() for x, y in loader)
    return hits / len(loader.dataset)


def main():
    torch.manual_seed(0)
    digits = load_digits()
    images = (torch.tensor(digits.data[:1000], dtype=torch.float32) / 16 - 0.305) / 0.376
    dataset = TensorDataset(images, torch.tensor(digits.target[:1000]))
    train_set, test_set = random_split(dataset, [800, 200], generator=torch.Generator().manual_seed(0))
    train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
    test_loader = DataLoader(test_set, batch_size=50)

    body = nn.Sequential(nn.Linear(64, 64), nn.ReLU())
    head = nn.Linear(64, 10)
    model = nn.Sequential(body, head)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.003, weight_decay=0.1)
    for epoch in range(4):
        loss = run_epoch(model, train_loader, criterion, optimizer)
        print(f"all layers: loss {loss:.3f}, test accuracy {evaluate(model, test_loader):.3f}")

    body.requires_grad_(False)
    before = body[0].weight.clone()
    for epoch in range(6):
        loss = run_epoch(model, train_loader, criterion, optimizer)
        print(f"head only: loss {loss:.3f}, test accuracy {evaluate(model, test_loader):.3f}")
    moved = ((body[0].weight - before).norm() / before.norm()).item()
    print(f"the frozen weights moved by {moved:.2%}")


if __name__ == "__main__":
    main()
