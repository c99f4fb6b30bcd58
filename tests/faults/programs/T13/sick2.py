"""The seed is set again in every epoch: all epochs see the same batches in the same order with the same
dropout masks, so shuffling and dropout regularise far less than they should."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


def set_seed(seed=0):
    torch.manual_seed(seed)


def main():
    set_seed()
    digits = load_digits()
    images = (torch.tensor(digits.data[:600], dtype=torch.float32) / 16 - 0.305) / 0.376
    dataset = TensorDataset(images, torch.tensor(digits.target[:600]))
    train_set, test_set = random_split(dataset, [320, 280], generator=torch.Generator().manual_seed(0))
    train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
    test_loader = DataLoader(test_set, batch_size=70)

    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for epoch in range(12):
        set_seed()
        model.train()
        running_loss = 0.0
        for images, labels in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
            running_loss += loss.item() * len(labels)
        model.eval()
        test_loss = 0.0
        with torch.no_grad():
            for images, labels in test_loader:
                test_loss += criterion(model(images), labels).item() * len(labels)
        print(f"epoch {epoch + 1}: loss {running_loss / 320:.3f}, test loss {test_loss / 280:.3f}")


if __name__ == "__main__":
    main()
