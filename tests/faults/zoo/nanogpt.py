"""A causal language model after nanoGPT: tied embedding, GELU, causal attention, next-character targets."""
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

CHARS = " .abcdefghijklmnopqrstuvwxyz"
BLOCK = 24


class CausalSelfAttention(nn.Module):
    def __init__(self, n_embd, n_head):
        super().__init__()
        self.c_attn = nn.Linear(n_embd, 3 * n_embd, bias=False)
        self.c_proj = nn.Linear(n_embd, n_embd, bias=False)
        self.n_head = n_head

    def forward(self, x):
        B, T, C = x.size()
        q, k, v = self.c_attn(x).split(C, dim=2)
        k = k.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        q = q.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        v = v.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).contiguous().view(B, T, C))


class Block(nn.Module):
    def __init__(self, n_embd, n_head):
        super().__init__()
        self.ln_1 = nn.LayerNorm(n_embd)
        self.attn = CausalSelfAttention(n_embd, n_head)
        self.ln_2 = nn.LayerNorm(n_embd)
        self.mlp = nn.Sequential(nn.Linear(n_embd, 4 * n_embd), nn.GELU(), nn.Linear(4 * n_embd, n_embd))

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Net(nn.Module):
    def __init__(self, n_embd=32, n_head=4, n_layer=2):
        super().__init__()
        self.wte = nn.Embedding(len(CHARS), n_embd)
        self.wpe = nn.Embedding(BLOCK, n_embd)
        self.h = nn.ModuleList([Block(n_embd, n_head) for _ in range(n_layer)])
        self.ln_f = nn.LayerNorm(n_embd)
        self.lm_head = nn.Linear(n_embd, len(CHARS), bias=False)
        self.lm_head.weight = self.wte.weight  # weight tying
        for name, p in self.named_parameters():
            if p.dim() == 2:
                scale = (2 * n_layer) ** -0.5 if name.endswith("c_proj.weight") else 1.0
                nn.init.normal_(p, std=0.02 * scale)

    def forward(self, idx):
        pos = torch.arange(idx.size(1), device=idx.device)
        x = self.wte(idx) + self.wpe(pos)
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))


def lm_loss(logits, targets):
    return F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1))


def data():
    g = torch.Generator().manual_seed(0)
    nouns, verbs = "cat dog bird horse child teacher".split(), "sees likes follows hears finds".split()

    def pick(words):
        return words[torch.randint(len(words), (), generator=g)]

    text = " ".join(f"the {pick(nouns)} {pick(verbs)} a {pick(nouns)}." for _ in range(480))
    ids = torch.tensor([CHARS.index(c) for c in text])
    rows = (len(ids) - 1) // BLOCK
    x, y = ids[: rows * BLOCK].view(rows, BLOCK), ids[1 : rows * BLOCK + 1].view(rows, BLOCK)
    fresh = torch.tensor([not (x[:400] == row).all(1).any() for row in x[400:]])
    return (x[:400], y[:400]), (x[400:][fresh], y[400:][fresh])


def adamw(parameters, lr):
    return torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.95))


RECIPE = {"loss": lm_loss, "optimizer": adamw, "lr": 1e-2}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    model = Net()
    criterion = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](model.parameters(), lr=RECIPE["lr"])
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=32, shuffle=True)
    for epoch in range(10):
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
