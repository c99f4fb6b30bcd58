"""The test accuracy is taken in train mode: dropout still switches units off and batch norm uses the
statistics of the test batch, so the printed accuracy is far below the network's."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(64, 64)
        self.bn1 = nn.BatchNorm1d(64)
        self.dropout = nn.Dropout(0.5)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x):
        x = torch.relu(self.bn1(self.fc1(x.flatten(1))))
        return self.fc2(self.dropout(x))


def main():
    torch.manual_seed(0)
    digits = load_digits()
    images = (torch.tensor(digits.images[:1000], dtype=torch.float32) / 16 - 0.305) / 0.376
    dataset = TensorDataset(images, torch.tensor(digits.target[:1000]))
    trainset, testset = random_split(dataset, [800, 200], generator=torch.Generator().manual_seed(0))
    trainloader = DataLoader(trainset, batch_size=32, shuffle=True)
    testloader = DataLoader(testset, batch_size=20, shuffle=False)

    net = Net()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.003)
    net.train()
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
