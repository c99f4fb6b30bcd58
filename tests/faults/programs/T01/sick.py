"""The gradients are never set to zero, so every step follows the sum of all gradients since the start: the
updates grow, overshoot, and the network ends far worse than it could."""
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
    testloader = DataLoader(testset, batch_size=50, shuffle=False)

    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

    for epoch in range(6):
        net.train()
        running_loss = 0.0
        for inputs, labels in trainloader:
            outputs = net(inputs)
            loss = criterion(outputs, labels)
            loss.backward()
            optimizer.step()
            running_loss += loss.item() * labels.size(0)
        net.eval()
        correct = 0
        with torch.no_grad():
            for inputs, labels in testloader:
                correct += (net(inputs).argmax(dim=1) == labels).sum().item()
        print(f"epoch {epoch + 1}: loss {running_loss / 800:.3f}, test accuracy {correct / 200:.3f}")


if __name__ == "__main__":
    main()
