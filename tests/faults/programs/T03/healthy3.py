"""The summed loss of every micro-batch is divided by the number of tokens of the whole window, so all
tokens weigh the same."""
import torch
from torch import nn

PAD, VOCAB = 0, 10


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, 16, padding_idx=PAD)
        self.lstm = nn.LSTM(16, 32, batch_first=True)
        self.head = nn.Linear(32, 3)

    def forward(self, tokens):
        return self.head(self.lstm(self.embedding(tokens))[0])


def make_batches(n_batches, generator):
    """Batches of eight sentences of similar length; a word's tag depends on the word and the one before."""
    batches = []
    for _ in range(n_batches):
        longest = int(torch.randint(3, 25, (1,), generator=generator))
        lengths = torch.randint(max(2, longest - 3), longest + 1, (8, 1), generator=generator)
        tokens = torch.randint(1, VOCAB, (8, longest), generator=generator)
        tags = (tokens + tokens.roll(1, dims=1) * (torch.arange(longest) > 0)) % 3
        outside = torch.arange(longest) >= lengths
        batches.append((tokens.masked_fill(outside, PAD), tags.masked_fill(outside, -100)))
    return batches


def main():
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    train_batches, test_batches = make_batches(120, generator), make_batches(20, generator)
    model = Tagger()
    criterion = nn.CrossEntropyLoss(ignore_index=-100, reduction="sum")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for epoch in range(3):
        model.train()
        order = torch.randperm(len(train_batches)).tolist()
        for start in range(0, len(order), 4):
            window = [train_batches[i] for i in order[start:start + 4]]
            n_tokens = sum((tags != -100).sum() for _, tags in window)
            optimizer.zero_grad()
            for tokens, tags in window:
                loss = criterion(model(tokens).flatten(0, 1), tags.flatten())
                (loss / n_tokens).backward()
            optimizer.step()
        model.eval()
        correct = total = 0
        with torch.no_grad():
            for tokens, tags in test_batches:
                scored = tags != -100
                correct += (model(tokens).argmax(dim=-1) == tags)[scored].sum().item()
                total += scored.sum().item()
        print(f"epoch {epoch + 1}: test accuracy {correct / total:.3f}")


if __name__ == "__main__":
    main()
