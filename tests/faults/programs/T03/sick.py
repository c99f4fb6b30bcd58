"""Eight micro-batches are added up without dividing by eight: each step is eight times as long as the
learning rate was chosen for, and training does not settle."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

ACCUMULATION_STEPS = 8


def get_loaders():
    digits = load_digits()
    images = (torch.tensor(digits.data[:1224], dtype=torch.float32) / 16 - 0.305) / 0.376
    dataset = TensorDataset(images, torch.tensor(digits.target[:1224]))
    train_set, test_set = random_split(dataset, [1024, 200], generator=torch.Generator().manual_seed(0))
    return DataLoader(train_set, batch_size=8, shuffle=True), DataLoader(test_set, batch_size=50)


def main():
    torch.manual_seed(0)
    train_loader, test_loader = get_loaders()
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for epoch in range(5):
        model.train()
        running_loss = 0.0
        optimizer.zero_grad()
        for i, (images, labels) in enumerate(train_loader):
            loss = criterion(model(images), labels)
            running_loss += loss.item() * len(labels)
            loss.backward()
            if (i + 1) % ACCUMULATION_STEPS == 0:
                optimizer.step()
                optimizer.zero_grad()
        model.eval()
        correct = 0
        with torch.no_grad():
            for images, labels in test_loader:
                correct += (model(images).argmax(dim=1) == labels).sum().item()
        print(f"epoch {epoch + 1}: loss {running_loss / 1024:.3f}, test accuracy {correct / 200:.3f}")


if __name__ == "__main__":
    main()
