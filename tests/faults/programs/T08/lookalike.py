"""Two optimizers sharing gradients is right here: one joint loss is the sum of both tasks, both optimizers
are set to zero before its backward() and both step after it."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


def main():
    torch.manual_seed(0)
    digits = load_digits()
    images = (torch.tensor(digits.data[:1000], dtype=torch.float32) / 16 - 0.305) / 0.376
    dataset = TensorDataset(images, torch.tensor(digits.target[:1000]))
    train_set, test_set = random_split(dataset, [800, 200], generator=torch.Generator().manual_seed(0))
    train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
    test_images, test_labels = next(iter(DataLoader(test_set, batch_size=200)))

    encoder = nn.Sequential(nn.Linear(64, 32), nn.ReLU())
    classifier, decoder = nn.Linear(32, 10), nn.Linear(32, 64)
    opt_encoder = torch.optim.Adam(encoder.parameters(), lr=0.003)
    opt_heads = torch.optim.Adam([*classifier.parameters(), *decoder.parameters()], lr=0.005)
    cross_entropy, mse = nn.CrossEntropyLoss(), nn.MSELoss()
    for epoch in range(8):
        for module in (encoder, classifier, decoder):
            module.train()
        total = 0.0
        for images, labels in train_loader:
            code = encoder(images)
            loss = cross_entropy(classifier(code), labels) + mse(decoder(code), images)
            opt_encoder.zero_grad()
            opt_heads.zero_grad()
            loss.backward()
            opt_encoder.step()
            opt_heads.step()
            total += loss.item() * len(labels)
        for module in (encoder, classifier, decoder):
            module.eval()
        with torch.no_grad():
            code = encoder(test_images)
            error = mse(decoder(code), test_images).item()
            accuracy = (classifier(code).argmax(dim=1) == test_labels).float().mean().item()
        print(f"epoch {epoch + 1}: loss {total / 800:.3f}, accuracy {accuracy:.3f}, error {error:.3f}")


if __name__ == "__main__":
    main()
