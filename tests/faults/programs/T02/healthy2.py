"""With gradient accumulation zero_grad() is called after each step only, so all four micro-batches
count."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

ACCUMULATE = 4


def evaluate(model, loader):
    model.eval()
    correct = 0
    with torch.no_grad():
        for images, labels in loader:
            correct += (model(images).argmax(dim=1) == labels).sum().item()
    return correct / len(loader.dataset)


def main():
    torch.manual_seed(0)
    digits = load_digits()
    images = (torch.tensor(digits.images[:968], dtype=torch.float32).unsqueeze(1) / 16 - 0.305) / 0.376
    dataset = TensorDataset(images, torch.tensor(digits.target[:968]))
    train_set, test_set = random_split(dataset, [768, 200], generator=torch.Generator().manual_seed(0))
    train_loader = DataLoader(train_set, batch_size=8, shuffle=True)
    test_loader = DataLoader(test_set, batch_size=50)

    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10)
    )
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for epoch in range(4):
        model.train()
        total = 0.0
        optimizer.zero_grad()
        for step, (images, labels) in enumerate(train_loader):
            loss = loss_fn(model(images), labels)
            (loss / ACCUMULATE).backward()
            total += loss.item() * len(labels)
            if (step + 1) % ACCUMULATE == 0:
                optimizer.step()
                optimizer.zero_grad()
        print(f"epoch {epoch + 1}: loss {total / 768:.3f}, test accuracy {evaluate(model, test_loader):.3f}")


if __name__ == "__main__":
    main()
