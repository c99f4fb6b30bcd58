"""A sequence tagger: packed BiLSTM, logits per token (B, T, C), padding has the label -100."""
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self, vocab=16, dim=16, hidden=24, tags=4):
        super().__init__()
        self.word_embeddings = nn.Embedding(vocab, dim, padding_idx=0)
        self.lstm = nn.LSTM(dim, hidden, bidirectional=True, batch_first=True)
        self.hidden2tag = nn.Linear(2 * hidden, tags)

    def forward(self, sentence):
        lengths = (sentence != 0).sum(dim=1).cpu()
        packed = pack_padded_sequence(self.word_embeddings(sentence), lengths, True, enforce_sorted=False)
        out, _ = self.lstm(packed)
        out, _ = pad_packed_sequence(out, batch_first=True, total_length=sentence.size(1))
        return self.hidden2tag(out)


def token_loss(logits, tags):
    return nn.functional.cross_entropy(logits.transpose(1, 2), tags, ignore_index=-100)


def data():
    """A tag says whether a token is larger than its left and than its right neighbour."""
    g = torch.Generator().manual_seed(0)
    n, length = 900, 9
    tokens = torch.randint(1, 16, (n, length), generator=g)
    mask = torch.arange(length) < torch.randint(4, length + 1, (n, 1), generator=g)
    tokens = tokens * mask
    padded = nn.functional.pad(tokens, (1, 1))
    tags = (tokens > padded[:, :-2]).long() + 2 * (tokens > padded[:, 2:]).long()
    tags = tags.masked_fill(~mask, -100)
    return (tokens[:700], tags[:700]), (tokens[700:], tags[700:])


RECIPE = {"loss": token_loss, "optimizer": torch.optim.Adam, "lr": 1e-2}


def main():
    torch.manual_seed(0)
    train, (test_x, test_y) = data()
    net = Net()
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    for epoch in range(6):
        net.train()
        for x, y in DataLoader(TensorDataset(*train), batch_size=50, shuffle=True):
            optimizer.zero_grad()
            loss = RECIPE["loss"](net(x), y)
            loss.backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            logits = net(test_x)
        scored = test_y != -100
        right = (logits.argmax(-1) == test_y)[scored].float().mean().item()
        test_loss = RECIPE["loss"](logits, test_y).item()
        print(f"epoch {epoch + 1}: test loss {test_loss:.4f}, tags right {right:.4f}")


if __name__ == "__main__":
    main()
