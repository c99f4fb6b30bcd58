"""The optimizer is given the parameters of the encoder and of the head."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8), nn.Tanh())

    def forward(self, x):
        return self.body(x)


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(8, 32)
        self.out = nn.Linear(32, 10)

    def forward(self, x):
        return self.out(torch.relu(self.hidden(x)))


def load():
    digits = load_digits()
    images = (torch.tensor(digits.data, dtype=torch.float32) / 16 - 0.305) / 0.376
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    images, labels = images[order], labels[order]
    return TensorDataset(images[:1400], labels[:1400]), TensorDataset(images[1400:], labels[1400:])


def main():
    torch.manual_seed(0)
    train_set, test_set = load()
    train_loader = DataLoader(train_set, batch_size=50, shuffle=True)
    test_images, test_labels = test_set.tensors
    encoder, head = Encoder(), Head()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=0.003)

    for epoch in range(8):
        encoder.train()
        head.train()
        running = 0.0
        for images, labels in train_loader:
            optimizer.zero_grad()
            loss = criterion(head(encoder(images)), labels)
            loss.backward()
            optimizer.step()
            running += loss.item() * len(images)
        encoder.eval()
        head.eval()
        with torch.no_grad():
            predicted = head(encoder(test_images)).argmax(dim=1)
        accuracy = (predicted == test_labels).float().mean().item()
        print(f"epoch {epoch + 1}: loss {running / len(train_set):.4f}, test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
