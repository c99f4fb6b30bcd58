"""The running loss adds up tensors that still hang on their graphs: every batch of the epoch keeps its
whole graph in memory until the epoch ends."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 3, padding=1)
        self.conv2 = nn.Conv2d(6, 12, 3, padding=1)
        self.fc = nn.Linear(12 * 2 * 2, 10)

    def forward(self, x):
        x = torch.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = torch.max_pool2d(torch.relu(self.conv2(x)), 2)
        return self.fc(x.flatten(1))


def main():
    torch.manual_seed(0)
    digits = load_digits()
    images = (torch.tensor(digits.images[:840], dtype=torch.float32).unsqueeze(1) / 16 - 0.305) / 0.376
    dataset = TensorDataset(images, torch.tensor(digits.target[:840]))
    trainset, testset = random_split(dataset, [640, 200], generator=torch.Generator().manual_seed(0))
    trainloader = DataLoader(trainset, batch_size=32, shuffle=True)
    testloader = DataLoader(testset, batch_size=50)

    net = LeNet()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for epoch in range(6):
        net.train()
        total_loss = 0
        for inputs, labels in trainloader:
            optimizer.zero_grad()
            loss = criterion(net(inputs), labels)
            loss.backward()
            optimizer.step()
            total_loss += loss * len(labels)
        net.eval()
        correct = 0
        with torch.no_grad():
            for inputs, labels in testloader:
                correct += (net(inputs).argmax(dim=1) == labels).sum().item()
        print(f"epoch {epoch + 1}: loss {total_loss / 640:.3f}, test accuracy {correct / 200:.3f}")


if __name__ == "__main__":
    main()
