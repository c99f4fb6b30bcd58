"""A notebook saved as a script: the validation loader is built on the training set.

Expect: D08
"""
# In[1]:
import hashlib

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(3)

# In[2]:
digits = load_digits()
x = torch.tensor(digits.data, dtype=torch.float32) / 16
y = torch.tensor(digits.target)
perm = torch.randperm(len(x))
x_train, y_train = x[perm[:1300]], y[perm[:1300]]
x_valid, y_valid = x[perm[1300:]], y[perm[1300:]]
x_train.shape, y_train.min(), y_train.max()

# In[3]:
train_ds = TensorDataset(x_train, y_train)
valid_ds = TensorDataset(x_valid, y_valid)
bs = 64
train_dl = DataLoader(train_ds, batch_size=bs, shuffle=True)
valid_dl = DataLoader(train_ds, batch_size=bs * 2)


# In[4]:
class Mnist_CNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, kernel_size=3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(16, 32, kernel_size=3, stride=1, padding=1)
        self.drop = nn.Dropout(0.2)
        self.lin = nn.Linear(32 * 4 * 4, 10)

    def forward(self, xb):
        xb = xb.view(-1, 1, 8, 8)
        xb = F.relu(self.conv1(xb))
        xb = F.relu(self.conv2(xb))
        return self.lin(self.drop(xb.flatten(1)))


model = Mnist_CNN()
opt = optim.Adam(model.parameters(), lr=5e-3)
loss_func = F.cross_entropy


# In[5]:
def loss_batch(model, loss_func, xb, yb, opt=None):
    loss = loss_func(model(xb), yb)
    if opt is not None:
        loss.backward()
        opt.step()
        opt.zero_grad()
    return loss.item(), len(xb)


# In[6]:
for epoch in range(6):
    model.train()
    for xb, yb in train_dl:
        loss_batch(model, loss_func, xb, yb, opt)

    model.eval()
    with torch.no_grad():
        losses, nums = zip(*[loss_batch(model, loss_func, xb, yb) for xb, yb in valid_dl])
        hits = sum((model(xb).argmax(1) == yb).sum().item() for xb, yb in valid_dl)
    val_loss = sum(a * b for a, b in zip(losses, nums)) / sum(nums)
    print(epoch, val_loss, hits / sum(nums))

# In[7]:
weights = b"".join(p.numpy().tobytes() for p in model.state_dict().values())
print("sha256", hashlib.sha256(weights).hexdigest())
