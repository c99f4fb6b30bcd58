"""The usual loop as it is often written. It never calls eval(): ``netwright watch examples/tutorial/never_eval.py``."""

import torch
import torch.nn as nn
import torch.optim as optim
from net import Net
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
images = nn.functional.interpolate(images, size=(28, 28), mode="bilinear")
labels = torch.tensor(digits.target)
order = torch.randperm(len(images))
train_ids, test_ids = order[:1437], order[1437:]

trainloader = DataLoader(TensorDataset(images[train_ids], labels[train_ids]), batch_size=64, shuffle=True)
testloader = DataLoader(TensorDataset(images[test_ids], labels[test_ids]), batch_size=64)

net = Net()
criterion = nn.CrossEntropyLoss()
optimizer = optim.SGD(net.parameters(), lr=0.01, momentum=0.9)

for epoch in range(3):
    running_loss = 0.0
    for inputs, targets in trainloader:
        optimizer.zero_grad()
        outputs = net(inputs)
        loss = criterion(outputs, targets)
        loss.backward()
        optimizer.step()
        running_loss += loss.item() * len(targets)
    print(f"epoch {epoch + 1}: loss {running_loss / len(train_ids):.4f}")

correct = 0
with torch.no_grad():
    for inputs, targets in testloader:
        correct += (net(inputs).argmax(1) == targets).sum().item()
print(f"test accuracy {correct / len(test_ids):.4f}")
