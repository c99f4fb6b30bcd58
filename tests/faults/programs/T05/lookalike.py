"""backward() without step() is right in the attack at the end: it wants the gradient with respect to the
picture (FGSM), to see how robust the trained network is, and no weight is meant to move."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


def fgsm(model, criterion, images, labels, epsilon):
    images = images.clone().requires_grad_(True)
    criterion(model(images), labels).backward()
    return (images + epsilon * images.grad.sign()).detach()


def main():
    torch.manual_seed(0)
    digits = load_digits()
    images = (torch.tensor(digits.data[:1000], dtype=torch.float32) / 16 - 0.305) / 0.376
    dataset = TensorDataset(images, torch.tensor(digits.target[:1000]))
    train_set, test_set = random_split(dataset, [800, 200], generator=torch.Generator().manual_seed(0))
    train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
    test_loader = DataLoader(test_set, batch_size=50)

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
        print(f"epoch {epoch + 1}: loss {running_loss / 800:.3f}")

    model.eval()
    clean = attacked = 0
    for images, labels in test_loader:
        adversarial = fgsm(model, criterion, images, labels, epsilon=0.2)
        with torch.no_grad():
            clean += (model(images).argmax(dim=1) == labels).sum().item()
            attacked += (model(adversarial).argmax(dim=1) == labels).sum().item()
    print(f"test accuracy {clean / 200:.3f}, under attack {attacked / 200:.3f}")


if __name__ == "__main__":
    main()
