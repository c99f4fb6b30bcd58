"""Training and validation have a data set object each, with a transform each."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset


class Digits(Dataset):
    def __init__(self, images, labels, transform=None):
        self.images = images
        self.labels = labels
        self.transform = transform

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        image = self.images[index]
        if self.transform is not None:
            image = self.transform(image)
        return image, self.labels[index]


def normalise(image):
    return (image - 0.16) / 0.31


def augment(image):
    """Moves the picture by up to two pixels in each direction."""
    padded = nn.functional.pad(image, (2, 2, 2, 2))
    top, left = torch.randint(0, 5, (2,)).tolist()
    return normalise(padded[top:top + 11, left:left + 11])


def load_images(count):
    """Digits at any place of a picture of 11 x 11 pixels."""
    digits = load_digits()
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(digits.target), generator=generator)[:count]
    images = torch.zeros(count, 11, 11)
    for image, index in zip(images, order):
        top, left = torch.randint(0, 4, (2,), generator=generator).tolist()
        image[top:top + 8, left:left + 8] = torch.tensor(digits.images[index]) / 16
    return images, torch.tensor(digits.target)[order]


def fit(model, loader, epochs=30, lr=0.003):
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    for epoch in range(epochs):
        model.train()
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
        print(f"epoch {epoch + 1}: train loss {total / len(loader.dataset):.3f}")


def score(model, loader):
    model.eval()
    correct = 0
    with torch.no_grad():
        for x, y in loader:
            correct += (model(x).argmax(dim=1) == y).sum().item()
    return correct / len(loader.dataset)


def main():
    torch.manual_seed(0)
    images, labels = load_images(600)
    rows = torch.randperm(len(labels)).tolist()
    train_set = Subset(Digits(images, labels, transform=augment), rows[:450])
    val_set = Subset(Digits(images, labels, transform=normalise), rows[450:])
    train_loader = DataLoader(train_set, batch_size=25, shuffle=True)
    val_loader = DataLoader(val_set, batch_size=50)

    model = nn.Sequential(nn.Flatten(), nn.Linear(121, 128), nn.ReLU(), nn.Linear(128, 10))
    fit(model, train_loader)
    print(f"validation accuracy {score(model, val_loader):.3f}")


if __name__ == "__main__":
    main()
