"""The optimizer is given the factors of the users only: the factors of the items stay random, and the
ratings of other items are not foretold at all."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

USERS, ITEMS, SIZE = 80, 50, 6


def make_ratings():
    generator = torch.Generator().manual_seed(0)
    tastes = torch.randn(USERS, 3, generator=generator)
    features = torch.randn(ITEMS, 3, generator=generator)
    table = tastes @ features.t() / 3 ** 0.5 + 0.2 * torch.randn(USERS, ITEMS, generator=generator)
    pairs = torch.cartesian_prod(torch.arange(USERS), torch.arange(ITEMS))
    pairs = pairs[torch.randperm(len(pairs), generator=generator)]
    users, items = pairs[:2000].t()                         # half of the table has been rated
    ratings = table[users, items]
    train_set = TensorDataset(users[:1600], items[:1600], ratings[:1600])
    return train_set, (users[1600:], items[1600:], ratings[1600:])


def main():
    torch.manual_seed(0)
    train_set, (test_users, test_items, test_ratings) = make_ratings()
    train_loader = DataLoader(train_set, batch_size=80, shuffle=True)
    user_factors = nn.Embedding(USERS, SIZE)
    item_factors = nn.Embedding(ITEMS, SIZE)
    for table in (user_factors, item_factors):
        nn.init.normal_(table.weight, std=0.3)
    optimizer = torch.optim.Adam([user_factors.weight], lr=0.01)
    loss_fn = nn.MSELoss()
    for epoch in range(25):
        losses = []
        for users, items, ratings in train_loader:
            optimizer.zero_grad()
            predicted = (user_factors(users) * item_factors(items)).sum(dim=1)
            loss = loss_fn(predicted, ratings)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        with torch.no_grad():
            predicted = (user_factors(test_users) * item_factors(test_items)).sum(dim=1)
            error = loss_fn(predicted, test_ratings).item()
        if epoch % 4 == 0:
            print(f"epoch {epoch + 1}: loss {sum(losses) / len(losses):.4f}, test error {error:.4f} "
                  f"(variance {test_ratings.var().item():.3f})")


if __name__ == "__main__":
    main()
