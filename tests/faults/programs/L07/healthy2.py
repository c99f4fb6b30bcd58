"""A mask holds class numbers, not grey values: it is turned to integers without scaling."""
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(),
            nn.Conv2d(12, 12, 3, padding=1), nn.ReLU(),
            nn.Conv2d(12, 3, 1),
        )

    def forward(self, images):
        return self.body(images)


def data():
    rng = np.random.default_rng(0)
    images = rng.normal(0, 0.3, (260, 1, 14, 14)).astype(np.float32)
    masks = np.zeros((260, 14, 14), dtype=np.uint8)
    for image, mask in zip(images, masks):
        for kind, level in ((1, 1.5), (2, -1.5)):           # bright lesions and dark lesions
            top, left = rng.integers(0, 9, 2)
            height, width = rng.integers(3, 6, 2)
            image[0, top:top + height, left:left + width] += level - image[0, top, left]
            mask[top:top + height, left:left + width] = kind
    inputs = torch.from_numpy(images)
    targets = torch.from_numpy(masks).long()
    return (inputs[:200], targets[:200]), (inputs[200:], targets[200:])


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 0.01}


def main():
    torch.manual_seed(0)
    (train_inputs, train_targets), (test_inputs, test_targets) = data()
    net = Net()
    criterion = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    loader = DataLoader(TensorDataset(train_inputs, train_targets), batch_size=20, shuffle=True)
    for epoch in range(6):
        net.train()
        total = 0.0
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = criterion(net(inputs), targets)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(inputs)
        net.eval()
        with torch.no_grad():
            predictions = net(test_inputs).argmax(dim=1)
        ious = []
        for k in range(1, 3):
            overlap = ((predictions == k) & (test_targets == k)).sum().item()
            ious.append(overlap / max(((predictions == k) | (test_targets == k)).sum().item(), 1))
        print(f"epoch {epoch + 1}: loss {total / len(train_inputs):.4f}, "
              f"IoU of the lesions {ious[0]:.3f} {ious[1]:.3f}, "
              f"predicted as lesion {(predictions > 0).float().mean().item():.3f}")


if __name__ == "__main__":
    main()
