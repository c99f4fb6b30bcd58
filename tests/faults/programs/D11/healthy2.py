"""No worker_init_fn is needed: today's torch seeds NumPy in each worker by itself, differently in each
worker and each epoch."""
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset


class BrightDigits(Dataset):
    """Digits made brighter or darker by a random factor at each reading."""

    def __init__(self, images, labels):
        self.images = images
        self.labels = labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        gain = np.random.uniform(0.6, 1.4)
        image = gain * torch.tensor(self.images[index])
        return (image - 0.305) / 0.376, self.labels[index], gain


def main():
    torch.manual_seed(0)
    digits = load_digits()
    order = torch.randperm(len(digits.target))[:512].numpy()
    images, labels = (digits.images[order] / 16).astype(np.float32), torch.tensor(digits.target[order])
    dataset = BrightDigits(images[:384], labels[:384])
    loader = DataLoader(dataset, batch_size=32, shuffle=True, num_workers=2)
    test_images = (torch.tensor(images[384:]) - 0.305) / 0.376

    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for epoch in range(5):
        model.train()
        total, gains = 0.0, []
        for x, y, gain in loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
            gains.append(gain)
        first, second = [" ".join(f"{gain:.2f}" for gain in batch[:4]) for batch in gains[:2]]
        print(f"epoch {epoch + 1}: train loss {total / len(dataset):.3f}, factors {first} | {second}")

    model.eval()
    with torch.no_grad():
        accuracy = (model(test_images).argmax(dim=1) == labels[384:]).float().mean().item()
    print(f"test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
