"""The served model prepares a picture in the same way as the training set."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset

MEAN, STD = 0.305, 0.376


class Digits(Dataset):
    def __init__(self, pictures, labels):
        self.pictures = pictures
        self.labels = labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        image = torch.tensor(self.pictures[index] / 16, dtype=torch.float32)
        return (image - MEAN) / STD, int(self.labels[index])


class Predictor:
    def __init__(self, model):
        self.model = model.eval()

    def __call__(self, picture):
        image = torch.tensor(picture / 16, dtype=torch.float32)
        image = (image - MEAN) / STD
        with torch.no_grad():
            return self.model(image[None]).argmax(dim=1).item()


def main():
    torch.manual_seed(0)
    digits = load_digits()
    order = torch.randperm(len(digits.target)).numpy()
    pictures, labels = digits.images[order], digits.target[order]
    loader = DataLoader(Digits(pictures[:1400], labels[:1400]), batch_size=50, shuffle=True)
    test_loader = DataLoader(Digits(pictures[1400:], labels[1400:]), batch_size=100)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for epoch in range(6):
        model.train()
        total = 0.0
        for images, targets in loader:
            optimizer.zero_grad()
            loss = criterion(model(images), targets)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(images)
        print(f"epoch {epoch + 1}: loss {total / 1400:.4f}")
    model.eval()
    correct = 0
    with torch.no_grad():
        for images, targets in test_loader:
            correct += (model(images).argmax(dim=1) == targets).sum().item()
    predict = Predictor(model)
    served = sum(predict(picture) == label for picture, label in zip(pictures[1400:], labels[1400:]))
    print(f"test accuracy {correct / 397:.3f}, accuracy of the served model {served / 397:.3f}")


if __name__ == "__main__":
    main()
