"""StepLR counts epochs and is stepped once an epoch, after its batches."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


def evaluate(net, loader):
    net.eval()
    correct = 0
    with torch.no_grad():
        for inputs, labels in loader:
            correct += (net(inputs).argmax(dim=1) == labels).sum().item()
    return correct / len(loader.dataset)


def main():
    torch.manual_seed(0)
    digits = load_digits()
    images = (torch.tensor(digits.images[:1000], dtype=torch.float32) / 16 - 0.305) / 0.376
    dataset = TensorDataset(images, torch.tensor(digits.target[:1000]))
    trainset, testset = random_split(dataset, [800, 200], generator=torch.Generator().manual_seed(0))
    trainloader = DataLoader(trainset, batch_size=32, shuffle=True)
    testloader = DataLoader(testset, batch_size=50)

    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.1)

    for epoch in range(8):
        net.train()
        running_loss = 0.0
        for inputs, labels in trainloader:
            optimizer.zero_grad()
            loss = criterion(net(inputs), labels)
            loss.backward()
            optimizer.step()
            running_loss += loss.item() * len(labels)
        scheduler.step()
        print(f"epoch {epoch + 1}: loss {running_loss / 800:.3f}, lr {optimizer.param_groups[0]['lr']:.1e}, "
              f"test accuracy {evaluate(net, testloader):.3f}")


if __name__ == "__main__":
    main()
