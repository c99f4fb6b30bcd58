"""At test time the head gets no labels and sets no margin, so the predictions come from the pictures
alone."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset, random_split


class CosFace(nn.Module):
    """Cosines to the class centres; in training the true class must win by a margin."""

    def __init__(self, features=32, classes=10, scale=8.0, margin=0.35):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, features))
        self.centres = nn.Parameter(0.2 * torch.randn(classes, features))
        self.scale, self.margin = scale, margin

    def forward(self, images, labels=None):
        cosines = F.linear(F.normalize(self.encoder(images), dim=1), F.normalize(self.centres, dim=1))
        if labels is not None:
            cosines = cosines - self.margin * F.one_hot(labels, cosines.size(1))
        return self.scale * cosines


def main():
    torch.manual_seed(0)
    digits = load_digits()
    images = (torch.tensor(digits.data[:1000], dtype=torch.float32) / 16 - 0.305) / 0.376
    dataset = TensorDataset(images, torch.tensor(digits.target[:1000]))
    train_set, test_set = random_split(dataset, [800, 200], generator=torch.Generator().manual_seed(0))
    train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
    test_loader = DataLoader(test_set, batch_size=50)
    model = CosFace()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for epoch in range(6):
        model.train()
        total = 0.0
        for images, labels in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(images, labels), labels)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(labels)
        model.eval()
        correct = 0
        with torch.no_grad():
            for images, labels in test_loader:
                logits = model(images)
                correct += (logits.argmax(dim=1) == labels).sum().item()
        print(f"epoch {epoch + 1}: loss {total / 800:.3f}, test accuracy {correct / 200:.3f}")


if __name__ == "__main__":
    main()
