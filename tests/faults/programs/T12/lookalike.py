"""Ten optimizer steps are enough here: each step of L-BFGS on all rows makes up to twenty inner iterations
with a line search, and the loss has settled long before the last."""
import torch
from torch import nn


def make_data(n, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 6, generator=generator)
    logits = 2 * x[:, 0] - 1.5 * x[:, 1] + x[:, 2] - 0.5 * x[:, 3] + 0.8 * x[:, 4] - x[:, 5]
    return x, torch.bernoulli(torch.sigmoid(1.5 * logits), generator=generator)


def main():
    torch.manual_seed(0)
    train_x, train_y = make_data(800, seed=1)
    test_x, test_y = make_data(200, seed=2)
    model = nn.Linear(6, 1)
    loss_fn = nn.BCEWithLogitsLoss()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=1, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = loss_fn(model(train_x).squeeze(1), train_y)
        loss.backward()
        return loss

    for step in range(10):
        model.train()
        loss = optimizer.step(closure).item()
        model.eval()
        with torch.no_grad():
            logits = model(test_x).squeeze(1)
            test_loss = loss_fn(logits, test_y).item()
            accuracy = ((logits > 0).float() == test_y).float().mean().item()
        print(f"step {step + 1}: loss {loss:.4f}, test loss {test_loss:.4f}, test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
