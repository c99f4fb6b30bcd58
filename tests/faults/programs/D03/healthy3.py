"""The test pictures are brought to the channel order of the training pictures before anything else."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def photograph(count, generator):
    """Fruit on a grey table, (count, 3, 12, 12), channels red, green, blue; the classes differ by colour."""
    labels = torch.randint(0, 4, (count,), generator=generator)
    colours = torch.tensor([[0.85, 0.2, 0.15], [0.2, 0.25, 0.8], [0.3, 0.7, 0.2], [0.85, 0.75, 0.2]])
    rows, columns = torch.meshgrid(torch.arange(12.0), torch.arange(12.0), indexing="ij")
    centre = 4 + 4 * torch.rand(count, 2, 1, 1, generator=generator)
    inside = ((rows - centre[:, 0]) ** 2 + (columns - centre[:, 1]) ** 2 < 9).unsqueeze(1)
    tint = colours[labels] + 0.12 * torch.randn(count, 3, generator=generator)
    table = 0.3 + 0.4 * torch.rand(count, 1, 1, 1, generator=generator)
    pictures = torch.where(inside, tint[:, :, None, None], table)
    return pictures + 0.08 * torch.randn(pictures.shape, generator=generator), labels


def read_test_folder(generator):
    pictures, labels = photograph(200, generator)
    return pictures.flip(1), labels         # this reader gives blue, green, red


def main():
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    train_x, train_y = photograph(600, generator)
    test_x, test_y = read_test_folder(generator)
    test_x = test_x.flip(1)
    train_x, test_x = (train_x - 0.48) / 0.19, (test_x - 0.48) / 0.19

    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(288, 4)
    )
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for epoch in range(5):
        model.train()
        total_loss = 0.0
        for images, labels in DataLoader(TensorDataset(train_x, train_y), batch_size=30, shuffle=True):
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
            total_loss += loss.item() * len(labels)
        print(f"epoch {epoch + 1}: train loss {total_loss / len(train_y):.3f}")

    model.eval()
    with torch.no_grad():
        accuracy = (model(test_x).argmax(dim=1) == test_y).float().mean().item()
    print(f"test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
