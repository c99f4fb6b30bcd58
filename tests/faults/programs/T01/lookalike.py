"""Several backward passes between two zero_grad() are right here: four small batches are added up on
purpose, each divided by four, and then one step is made for a batch of 64."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


def main():
    torch.manual_seed(0)
    digits = load_digits()
    images = (torch.tensor(digits.images[:968], dtype=torch.float32) / 16 - 0.305) / 0.376
    dataset = TensorDataset(images, torch.tensor(digits.target[:968]))
    trainset, testset = random_split(dataset, [768, 200], generator=torch.Generator().manual_seed(0))
    trainloader = DataLoader(trainset, batch_size=16, shuffle=True)
    testloader = DataLoader(testset, batch_size=50)

    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    accumulation_steps = 4

    for epoch in range(6):
        net.train()
        running_loss = 0.0
        optimizer.zero_grad()
        for i, (inputs, labels) in enumerate(trainloader):
            loss = criterion(net(inputs), labels)
            (loss / accumulation_steps).backward()
            running_loss += loss.item() * len(labels)
            if (i + 1) % accumulation_steps == 0:
                optimizer.step()
                optimizer.zero_grad()
        net.eval()
        correct = 0
        with torch.no_grad():
            for inputs, labels in testloader:
                correct += (net(inputs).argmax(dim=1) == labels).sum().item()
        print(f"epoch {epoch + 1}: loss {running_loss / 768:.3f}, test accuracy {correct / 200:.3f}")


if __name__ == "__main__":
    main()
