"""Only the entries whose names and shapes match are taken from the pre-trained file, and none does,
because the encoder there is called backbone here: the head is trained on random features."""
import os
import tempfile

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class PretrainNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 16), nn.Tanh())
        self.decoder = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 64))

    def forward(self, x):
        return self.decoder(self.encoder(x))


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 16), nn.Tanh())
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        return self.head(self.backbone(x))


def load_pretrained(model, path):
    pretrained = torch.load(path)
    own = model.state_dict()
    matching = {k: v for k, v in pretrained.items() if k in own and v.shape == own[k].shape}
    own.update(matching)
    model.load_state_dict(own)


def load():
    digits = load_digits()
    images = (torch.tensor(digits.data, dtype=torch.float32) / 16 - 0.305) / 0.376
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    images, labels = images[order], labels[order]
    return TensorDataset(images[:1400], labels[:1400]), TensorDataset(images[1400:], labels[1400:])


def fit(model, inputs, targets, criterion, parameters, epochs):
    loader = DataLoader(TensorDataset(inputs, targets), batch_size=50, shuffle=True)
    optimizer = torch.optim.Adam(parameters, lr=0.005)
    for epoch in range(epochs):
        model.train()
        total = 0.0
        for batch, target in loader:
            optimizer.zero_grad()
            loss = criterion(model(batch), target)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        print(f"epoch {epoch + 1}: loss {total / len(inputs):.4f}")


def main():
    torch.manual_seed(0)
    train_set, test_set = load()
    images, labels = train_set.tensors
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "autoencoder.pt")
        autoencoder = PretrainNet()
        fit(autoencoder, images, images, nn.MSELoss(), autoencoder.parameters(), epochs=12)
        torch.save(autoencoder.state_dict(), path)
        model = Classifier()
        load_pretrained(model, path)
    model.backbone.requires_grad_(False)
    fit(model, images, labels, nn.CrossEntropyLoss(), model.head.parameters(), epochs=12)
    model.eval()
    with torch.no_grad():
        accuracy = (model(test_set.tensors[0]).argmax(dim=1) == test_set.tensors[1]).float().mean().item()
    print(f"head on the pre-trained backbone: accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
