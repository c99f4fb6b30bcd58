"""One data set with random augmentation is split, so that the validation pictures are noisy and partly
erased as well: the score is too low and changes from one reading to the next."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset, random_split


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
    return (image - 0.305) / 0.376


def augment(image):
    """Erases a random square and adds noise."""
    image = image + 0.2 * torch.randn(image.shape)
    top, left = torch.randint(0, 6, (2,)).tolist()
    image[top:top + 3, left:left + 3] = 0
    return normalise(image)


def load_images(count):
    digits = load_digits()
    order = torch.randperm(len(digits.target), generator=torch.Generator().manual_seed(0))[:count]
    return torch.tensor(digits.images, dtype=torch.float32)[order] / 16, torch.tensor(digits.target)[order]


def fit(model, loader, epochs=8, lr=0.003):
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
    images, labels = load_images(900)
    dataset = Digits(images, labels, transform=augment)
    train_set, val_set = random_split(dataset, [700, 200])
    train_loader = DataLoader(train_set, batch_size=28, shuffle=True)
    val_loader = DataLoader(val_set, batch_size=50)

    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    fit(model, train_loader)
    print(f"validation accuracy {score(model, val_loader):.3f}")


if __name__ == "__main__":
    main()
