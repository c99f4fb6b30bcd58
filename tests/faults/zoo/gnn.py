"""Graph convolution on batches of small dense graphs: each sample brings its own adjacency matrix."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class GraphConvolution(nn.Module):
    def __init__(self, in_features, out_features):
        super().__init__()
        self.own = nn.Linear(in_features, out_features)
        self.neighbours = nn.Linear(in_features, out_features, bias=False)

    def forward(self, x, adj):
        return self.own(x) + torch.bmm(adj, self.neighbours(x))


class Net(nn.Module):
    def __init__(self, nfeat=3, nhid=32, nclass=2):
        super().__init__()
        self.gc1 = GraphConvolution(nfeat, nhid)
        self.gc2 = GraphConvolution(nhid, nhid)
        self.out = nn.Linear(nhid, nclass)

    def forward(self, x, adj):
        x = torch.relu(self.gc1(x, adj))
        x = torch.relu(self.gc2(x, adj))
        return self.out(x.mean(dim=1))  # mean over the nodes of each graph


def data():
    """Do neighbours agree in their first feature, or not?"""
    g = torch.Generator().manual_seed(0)
    n, nodes = 1200, 8
    x = torch.randn(n, nodes, 3, generator=g)
    edges = (torch.rand(n, nodes, nodes, generator=g) < 0.35).float().triu(1)
    agree = torch.sign(x[:, :, :1] * x[:, :, :1].transpose(1, 2))
    side = (torch.arange(n) % 2 * 2 - 1).view(-1, 1, 1)  # half of the graphs keep edges of one kind mostly
    edges = edges * ((agree == side) | (torch.rand(n, nodes, nodes, generator=g) < 0.2)).float()
    adj = edges + edges.transpose(1, 2) + torch.eye(nodes)
    adj = adj / adj.sum(dim=2, keepdim=True)
    y = torch.arange(n) % 2
    order = torch.randperm(n, generator=g)
    x, adj, y = x[order], adj[order], y[order]
    return ({"x": x[:900], "adj": adj[:900]}, y[:900]), ({"x": x[900:], "adj": adj[900:]}, y[900:])


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 1e-2}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    train_set = TensorDataset(train_x["x"], train_x["adj"], train_y)
    loader = DataLoader(train_set, batch_size=64, shuffle=True)
    for epoch in range(10):
        net.train()
        total = 0.0
        for x, adj, targets in loader:
            optimizer.zero_grad()
            loss = RECIPE["loss"](net(x, adj), targets)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(targets)
        net.eval()
        with torch.no_grad():
            correct = (net(**test_x).argmax(dim=1) == test_y).sum().item()
        print(f"epoch {epoch + 1}: loss {total / len(train_set):.4f}, accuracy {correct / len(test_y):.4f}")


if __name__ == "__main__":
    main()
