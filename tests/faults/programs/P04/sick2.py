"""The network was trained on red-green-blue pictures and the camera delivers blue-green-red: red apples
are taken for plums, while the test accuracy is perfect."""
import numpy as np
import torch
from torch import nn

NAMES = ["apple", "leaf", "plum", "lemon"]
COLOURS = np.array([[0.8, 0.2, 0.2], [0.2, 0.7, 0.3], [0.3, 0.2, 0.8], [0.8, 0.8, 0.2]])


def make_photos(count, rng):
    labels = rng.integers(0, 4, count)
    photos = rng.normal(0.5, 0.15, (count, 10, 10, 3))
    for photo, label in zip(photos, labels):
        top, left = rng.integers(0, 5, 2)
        shade = COLOURS[label] * rng.uniform(0.6, 1.1) + rng.normal(0, 0.08, 3)
        photo[top:top + 5, left:left + 5] = shade + rng.normal(0, 0.1, (5, 5, 3))
    return (photos.clip(0, 1) * 255).astype(np.uint8), labels


def read_camera(photo):
    """The camera driver hands over blue, green, red, as OpenCV does."""
    return photo[:, :, ::-1]


def to_input(rgb):
    image = torch.tensor(rgb.astype(np.float32) / 255).permute(2, 0, 1)
    return (image - 0.5) / 0.2


def train(model, inputs, targets):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for epoch in range(10):
        model.train()
        losses = []
        for batch in torch.randperm(len(inputs)).split(40):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs[batch]), targets[batch])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}")


@torch.no_grad()
def recognise(model, frame):
    return model(to_input(frame)[None]).argmax(dim=1).item()


def main():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    photos, labels = make_photos(480, rng)
    test_photos, test_labels = make_photos(160, rng)
    model = nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(12, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 4),
    )
    train(model, torch.stack([to_input(photo) for photo in photos]), torch.tensor(labels))
    model.eval()
    with torch.no_grad():
        outputs = model(torch.stack([to_input(photo) for photo in test_photos]))
    accuracy = (outputs.argmax(dim=1).numpy() == test_labels).mean()
    answers = np.array([recognise(model, read_camera(photo)) for photo in test_photos])
    live = (answers == test_labels).mean()
    print(f"test accuracy {accuracy:.3f}, accuracy with the camera {live:.3f}")
    for k, name in enumerate(NAMES):
        print(f"{name}: {', '.join(NAMES[answer] for answer in answers[test_labels == k][:5])}")


if __name__ == "__main__":
    main()
