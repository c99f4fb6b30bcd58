"""Batches of 30 and fifteen epochs make 450 steps: the validation loss has settled when training stops."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

BATCH_SIZE = 30
EPOCHS = 15


def main():
    torch.manual_seed(0)
    digits = load_digits()
    images = (torch.tensor(digits.data[:1200], dtype=torch.float32) / 16 - 0.305) / 0.376
    dataset = TensorDataset(images, torch.tensor(digits.target[:1200]))
    train_set, val_set = random_split(dataset, [900, 300], generator=torch.Generator().manual_seed(0))
    train_loader = DataLoader(train_set, batch_size=BATCH_SIZE, shuffle=True)
    val_loader = DataLoader(val_set, batch_size=100)

    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    for epoch in range(EPOCHS):
        model.train()
        train_loss = 0.0
        for images, labels in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
            train_loss += loss.item() * len(labels)
        model.eval()
        val_loss = correct = 0.0
        with torch.no_grad():
            for images, labels in val_loader:
                outputs = model(images)
                val_loss += criterion(outputs, labels).item() * len(labels)
                correct += (outputs.argmax(dim=1) == labels).sum().item()
        print(f"epoch {epoch + 1}: train loss {train_loss / 900:.3f}, val loss {val_loss / 300:.3f}, "
              f"val accuracy {correct / 300:.3f}")


if __name__ == "__main__":
    main()
