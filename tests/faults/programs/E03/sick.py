"""The test accuracy is the mean of the batch accuracies although the last batch has only 8 pictures: each
of them counts eight times as much as any other."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


def main():
    torch.manual_seed(0)
    digits = load_digits()
    images = (torch.tensor(digits.data[:1000], dtype=torch.float32) / 16 - 0.305) / 0.376
    dataset = TensorDataset(images, torch.tensor(digits.target[:1000]))
    train_set, test_set = random_split(dataset, [800, 200], generator=torch.Generator().manual_seed(0))
    train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
    test_loader = DataLoader(test_set, batch_size=64, shuffle=False)

    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for epoch in range(6):
        model.train()
        running_loss = 0.0
        for images, labels in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
            running_loss += loss.item() * len(labels)
        model.eval()
        accuracy = 0.0
        with torch.no_grad():
            for images, labels in test_loader:
                predicted = model(images).argmax(dim=1)
                accuracy += (predicted == labels).float().mean().item()
        accuracy /= len(test_loader)
        print(f"epoch {epoch + 1}: loss {running_loss / 800:.3f}, test accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
