"""Hugging Face accelerate: prepare() wraps everything, accumulation by its context manager."""
import hashlib

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

EPOCHS = 5


def get_dataloaders(batch_size=32):
    digits = load_digits()
    x, y = torch.tensor(digits.data, dtype=torch.float32), torch.tensor(digits.target)
    order = torch.randperm(len(x))
    train, test = order[:1408], order[1408:]
    x = (x - x[train].mean()) / x[train].std()
    return (DataLoader(TensorDataset(x[train], y[train]), batch_size=batch_size, shuffle=True),
            DataLoader(TensorDataset(x[test], y[test]), batch_size=100))


def main():
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    set_seed(11)
    train_dataloader, eval_dataloader = get_dataloaders()
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    steps = EPOCHS * len(train_dataloader) // 2
    lr_scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, total_iters=steps)
    criterion = nn.CrossEntropyLoss()
    model, optimizer, train_dataloader, eval_dataloader, lr_scheduler = accelerator.prepare(
        model, optimizer, train_dataloader, eval_dataloader, lr_scheduler
    )
    for epoch in range(EPOCHS):
        model.train()
        total, count = 0.0, 0
        for inputs, targets in train_dataloader:
            with accelerator.accumulate(model):
                loss = criterion(model(inputs), targets)
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                lr_scheduler.step()
                optimizer.zero_grad()
            total += loss.item() * len(targets)
            count += len(targets)
        model.eval()
        correct, seen = 0, 0
        for inputs, targets in eval_dataloader:
            with torch.no_grad():
                predictions = model(inputs).argmax(dim=-1)
            predictions, references = accelerator.gather_for_metrics((predictions, targets))
            correct += (predictions == references).sum().item()
            seen += len(references)
        accelerator.print("epoch", epoch, "loss", total / count, "accuracy", correct / seen)
    state = accelerator.unwrap_model(model).state_dict()
    print("sha256", hashlib.sha256(b"".join(v.numpy().tobytes() for v in state.values())).hexdigest())


if __name__ == "__main__":
    main()
