"""The vocabulary is saved in the checkpoint and used again when serving."""
import os
import random
import tempfile

import torch
from torch import nn

TOPICS = [
    "ball goal team coach match league striker referee penalty stadium".split(),
    "vote party senate law minister election budget reform treaty debate".split(),
    "cell gene protein enzyme virus tissue neuron lipid plasma receptor".split(),
]
COMMON = "the a of and in to is was for on with as by at from it this that new old".split()


def make_texts(count, rng):
    texts, labels = [], []
    for _ in range(count):
        label = rng.randrange(3)
        words = [rng.choice(TOPICS[label] if rng.random() < 0.35 else COMMON) for _ in range(14)]
        texts.append(" ".join(words))
        labels.append(label)
    return texts, torch.tensor(labels)


def build_vocab(texts):
    vocab = {}
    for text in texts:
        for word in text.split():
            vocab.setdefault(word, len(vocab) + 1)
    return vocab


def encode(texts, vocab):
    return torch.tensor([[vocab.get(word, 0) for word in text.split()] for text in texts])


def train(texts, labels, folder):
    vocab = build_vocab(texts)
    tokens = encode(texts, vocab)
    model = nn.Sequential(nn.EmbeddingBag(51, 16, mode="mean"), nn.Linear(16, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for epoch in range(10):
        losses = []
        for batch in torch.randperm(len(tokens)).split(30):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(tokens[batch]), labels[batch])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}: loss {sum(losses) / len(losses):.4f}")
    torch.save({"model": model.state_dict(), "vocab": vocab}, os.path.join(folder, "classifier.pt"))


def serve(texts, folder):
    checkpoint = torch.load(os.path.join(folder, "classifier.pt"))
    vocab = checkpoint["vocab"]
    model = nn.Sequential(nn.EmbeddingBag(51, 16, mode="mean"), nn.Linear(16, 3))
    model.load_state_dict(checkpoint["model"])
    model.eval()
    with torch.no_grad():
        return model(encode(texts, vocab)).argmax(dim=1)


def main():
    torch.manual_seed(0)
    rng = random.Random(0)
    texts, labels = make_texts(600, rng)
    new_texts, new_labels = make_texts(200, rng)
    with tempfile.TemporaryDirectory() as folder:
        train(texts, labels, folder)
        accuracy = (serve(new_texts, folder) == new_labels).float().mean().item()
    print(f"accuracy of the served classifier {accuracy:.3f}")


if __name__ == "__main__":
    main()
