"""Transcription with CTC: BiGRU over frames, log_softmax for CTCLoss, blank 0, targets padded with 0."""
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self, features=6, hidden=24, symbols=5):
        super().__init__()
        self.conv = nn.Conv1d(features, 24, 3, padding=1)
        self.gru = nn.GRU(24, hidden, bidirectional=True, batch_first=True)
        self.fc = nn.Linear(2 * hidden, symbols + 1)

    def forward(self, x):
        x = F.relu(self.conv(x.transpose(1, 2))).transpose(1, 2)
        x, _ = self.gru(x)
        return F.log_softmax(self.fc(x), dim=-1)


def ctc_loss(log_probs, targets):
    frames = torch.full((len(log_probs),), log_probs.size(1), dtype=torch.long)
    lengths = (targets != 0).sum(dim=1)
    return F.ctc_loss(log_probs.transpose(0, 1), targets, frames, lengths, blank=0, zero_infinity=True)


def data():
    """Each symbol lasts three or four frames and is followed by a silent one; all lines have 16 frames."""
    g = torch.Generator().manual_seed(0)
    n, frames = 800, 16
    templates = torch.randn(6, 6, generator=g) * 1.5
    templates[0] = 0
    x, y = torch.zeros(n, frames, 6), torch.zeros(n, 4, dtype=torch.long)
    for i in range(n):
        t = 0
        for k in range(int(torch.randint(1, 4, (), generator=g))):
            y[i, k] = torch.randint(1, 6, (), generator=g)
            span = int(torch.randint(3, 5, (), generator=g))
            x[i, t : t + span] = templates[y[i, k]]
            t += span + 1
    x += 0.3 * torch.randn(x.shape, generator=g)
    return (x[:600], y[:600]), (x[600:], y[600:])


RECIPE = {"loss": ctc_loss, "optimizer": torch.optim.Adam, "lr": 1e-2}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    model = Net()
    criterion = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](model.parameters(), lr=RECIPE["lr"])
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=40, shuffle=True)
    for epoch in range(7):
        model.train()
        running = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            running += loss.item() * len(x)
        model.eval()
        with torch.no_grad():
            test_loss = criterion(model(test_x), test_y).item()
        print(f"epoch {epoch + 1}: train {running / len(train_x):.4f}, test {test_loss:.4f}")


if __name__ == "__main__":
    main()
