"""For the pixel accuracy the class maps (N, C, H, W) are flattened with view(-1, C), which takes
neighbouring pixels for the scores of the classes: the printed accuracy is that of guessing."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

CLASSES = 3


def make_scenes(n, seed):
    """Pictures of a bright and a dark box on a grey ground, and the class of each pixel."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros(n, 10, 10, dtype=torch.long)
    for i in range(n):
        for k in (1, 2):
            top, left, height, width = torch.randint(0, 6, (4,), generator=generator).tolist()
            masks[i, top:top + height + 2, left:left + width + 2] = k
    levels = torch.tensor([0.0, 1.5, -1.5])
    images = levels[masks] + 0.6 * torch.randn(n, 10, 10, generator=generator)
    return TensorDataset(images.unsqueeze(1), masks)


def pixel_accuracy(outputs, masks):
    predicted = outputs.contiguous().view(-1, CLASSES).argmax(dim=1)
    return (predicted == masks.view(-1)).float().mean().item()


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(make_scenes(320, seed=1), batch_size=20, shuffle=True)
    val_loader = DataLoader(make_scenes(100, seed=2), batch_size=20)
    model = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, CLASSES, 3, padding=1))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for epoch in range(6):
        model.train()
        train_loss = 0.0
        for images, masks in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(images), masks)
            loss.backward()
            optimizer.step()
            train_loss += loss.item() * len(images)
        model.eval()
        with torch.no_grad():
            accuracy = sum(pixel_accuracy(model(x), y) for x, y in val_loader) / len(val_loader)
        print(f"epoch {epoch + 1}: loss {train_loss / 320:.3f}, val pixel accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
