"""view makes (batch, 3, height, width) out of pictures stored as (batch, height, width, 3): the numbers
keep their order, so that each channel is four rows of mixed colours and the picture is scrambled."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    """Classifies colour pictures by the direction of the line in them; takes them as a camera gives them."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(12, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(),
        )
        self.classifier = nn.Linear(16, 4)

    def forward(self, images):                 # (batch, height, width, 3)
        x = images.view(-1, 3, 12, 12)
        return self.classifier(self.features(x))


def data():
    generator = torch.Generator().manual_seed(0)
    steps = torch.tensor([[0, 1], [1, 0], [1, 1], [1, -1]])      # row and column step of the four directions
    y = torch.randint(4, (800,), generator=generator)
    images = 0.6 * torch.randn(800, 12, 12, 3, generator=generator)
    colours = torch.rand(800, 3, generator=generator) + 0.5
    for i in range(800):
        row, column = (torch.randint(3, 9, (2,), generator=generator)).tolist()
        for k in range(-3, 4):
            r, c = row + k * steps[y[i], 0], column + k * steps[y[i], 1]
            images[i, r.clamp(0, 11), c.clamp(0, 11)] += colours[i]
    return (images[:600], y[:600]), (images[600:], y[600:])


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 0.01}


def main():
    torch.manual_seed(0)
    (train_images, train_labels), (test_images, test_labels) = data()
    net = Net()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    trainloader = DataLoader(TensorDataset(train_images, train_labels), batch_size=50, shuffle=True)
    for epoch in range(8):
        net.train()
        running_loss = 0.0
        for images, labels in trainloader:
            optimizer.zero_grad()
            loss = criterion(net(images), labels)
            loss.backward()
            optimizer.step()
            running_loss += loss.item() * len(labels)
        net.eval()
        with torch.no_grad():
            accuracy = (net(test_images).argmax(dim=1) == test_labels).float().mean()
        print(f"epoch {epoch + 1}: loss {running_loss / len(train_labels):.3f}, test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
