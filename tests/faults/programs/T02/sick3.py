"""Each of the two losses gets its own zero_grad() and backward(): the second zero_grad() erases the
gradient of the reconstruction, so the decoder never learns."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


class Net(nn.Module):
    """A digit's class and its reconstruction from one code."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 32), nn.ReLU())
        self.classifier = nn.Linear(32, 10)
        self.decoder = nn.Linear(32, 64)

    def forward(self, x):
        code = self.encoder(x)
        return self.classifier(code), self.decoder(code)


def main():
    torch.manual_seed(0)
    digits = load_digits()
    images = (torch.tensor(digits.data[:1000], dtype=torch.float32) / 16 - 0.305) / 0.376
    dataset = TensorDataset(images, torch.tensor(digits.target[:1000]))
    train_set, test_set = random_split(dataset, [800, 200], generator=torch.Generator().manual_seed(0))
    train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
    test_images, test_labels = next(iter(DataLoader(test_set, batch_size=200)))

    net = Net()
    class_loss, image_loss = nn.CrossEntropyLoss(), nn.MSELoss()
    opt = torch.optim.Adam(net.parameters(), lr=0.005)
    for epoch in range(8):
        net.train()
        for images, labels in train_loader:
            logits, reconstruction = net(images)
            loss_a = image_loss(reconstruction, images)
            loss_b = class_loss(logits, labels)
            opt.zero_grad()
            loss_a.backward(retain_graph=True)
            opt.zero_grad()
            loss_b.backward()
            opt.step()
        net.eval()
        with torch.no_grad():
            logits, reconstruction = net(test_images)
            error = image_loss(reconstruction, test_images).item()
            accuracy = (logits.argmax(dim=1) == test_labels).float().mean().item()
        print(f"epoch {epoch + 1}: test reconstruction error {error:.3f}, test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
