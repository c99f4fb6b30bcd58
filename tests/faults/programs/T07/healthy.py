"""train() is called at the top of every epoch, so validation leaves nothing behind."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


def validate(model, loader, criterion):
    model.eval()
    loss = correct = 0.0
    with torch.no_grad():
        for images, labels in loader:
            outputs = model(images)
            loss += criterion(outputs, labels).item() * len(labels)
            correct += (outputs.argmax(dim=1) == labels).sum().item()
    return loss / len(loader.dataset), correct / len(loader.dataset)


def main():
    torch.manual_seed(0)
    digits = load_digits()
    images = (torch.tensor(digits.data[:600], dtype=torch.float32) / 16 - 0.305) / 0.376
    dataset = TensorDataset(images, torch.tensor(digits.target[:600]))
    train_set, val_set = random_split(dataset, [400, 200], generator=torch.Generator().manual_seed(0))
    train_loader = DataLoader(train_set, batch_size=40, shuffle=True)
    val_loader = DataLoader(val_set, batch_size=50)

    model = nn.Sequential(
        nn.Linear(64, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Dropout(0.3),
        nn.Linear(128, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Dropout(0.3),
        nn.Linear(128, 10),
    )
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for epoch in range(10):
        model.train()
        running_loss = 0.0
        for images, labels in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
            running_loss += loss.item() * len(labels)
        val_loss, val_accuracy = validate(model, val_loader, criterion)
        print(f"train {running_loss / 400:.3f}, val {val_loss:.3f}, val accuracy {val_accuracy:.3f}")


if __name__ == "__main__":
    main()
