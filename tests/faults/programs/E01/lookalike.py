"""No eval() is needed here: without dropout and batch norm the network computes the same in both modes."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


def main():
    torch.manual_seed(0)
    digits = load_digits()
    images = (torch.tensor(digits.images[:1000], dtype=torch.float32) / 16 - 0.305) / 0.376
    dataset = TensorDataset(images, torch.tensor(digits.target[:1000]))
    trainset, testset = random_split(dataset, [800, 200], generator=torch.Generator().manual_seed(0))
    trainloader = DataLoader(trainset, batch_size=32, shuffle=True)
    testloader = DataLoader(testset, batch_size=20, shuffle=False)

    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.LayerNorm(64), nn.ReLU(), nn.Linear(64, 10))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.003)
    for epoch in range(6):
        running_loss = 0.0
        for inputs, labels in trainloader:
            optimizer.zero_grad()
            loss = criterion(net(inputs), labels)
            loss.backward()
            optimizer.step()
            running_loss += loss.item() * len(labels)
        print(f"epoch {epoch + 1}: loss {running_loss / 800:.3f}")

    correct = total = 0
    with torch.no_grad():
        for inputs, labels in testloader:
            predicted = net(inputs).argmax(dim=1)
            total += labels.size(0)
            correct += (predicted == labels).sum().item()
    print(f"test accuracy {correct / total:.3f}")


if __name__ == "__main__":
    main()
