"""Small scripts as people write them; each is run plainly and under the observer by test_left_alone.py."""

HEAD = """
import hashlib
import torch
from torch import nn
from torch.nn import functional as F

def digest(net):
    state = net.state_dict().values()
    return hashlib.sha256(b"".join(v.detach().contiguous().numpy().tobytes() for v in state)).hexdigest()[:16]

def make():
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))

torch.manual_seed(0)
x, y = torch.randn(64, 8), torch.randint(0, 3, (64,))
net = make()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

def steps(count=3, loss=F.cross_entropy):
    for _ in range(count):
        optimizer.zero_grad()
        loss(net(x), y).backward()
        optimizer.step()
"""

LEFT_ALONE = {
    "an optimizer without a rate": """
class Own(torch.optim.Optimizer):
    def __init__(self, params):
        super().__init__(params, {"size": 0.1})
    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for one in group["params"]:
                one.add_(one.grad, alpha=-group["size"])
optimizer = Own(net.parameters())
steps()
print(digest(net))
""",
    "gradients of each sample": """
from torch.func import functional_call, grad, vmap
steps()
def loss(params, a, b):
    return F.cross_entropy(functional_call(net, params, (a.unsqueeze(0),)), b.unsqueeze(0))
params = {name: value.detach() for name, value in net.named_parameters()}
found = vmap(grad(loss), in_dims=(None, 0, 0))(params, x, y)
print(sum(value.double().sum() for value in found.values()).item(), digest(net))
""",
    "weights of lazy layers": """
def lazily():
    return nn.Sequential(nn.LazyLinear(16), nn.ReLU(), nn.LazyLinear(3))
net = lazily()
net(x)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
steps()
other = lazily()
other.load_state_dict(net.state_dict())
print(digest(other))
""",
    "sparse batches": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 3)
    def forward(self, x):
        return torch.sparse.mm(x, self.inner.weight.t()) + self.inner.bias
net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
def collate(rows):
    return torch.stack([a for a, _ in rows]).to_sparse(), torch.stack([b for _, b in rows])
for a, b in torch.utils.data.DataLoader(list(zip(x, y)), 32, collate_fn=collate):
    optimizer.zero_grad()
    F.cross_entropy(net(a), b).backward()
    optimizer.step()
print(digest(net))
""",
    "sparse gradients": """
net = nn.Sequential(nn.Embedding(50, 8, sparse=True), nn.Linear(8, 3))
first = torch.optim.SparseAdam(net[0].parameters(), lr=0.01)
second = torch.optim.Adam(net[1].parameters())
x = torch.randint(0, 50, (64,))
for _ in range(4):
    first.zero_grad(), second.zero_grad()
    F.cross_entropy(net(x), y).backward()
    first.step(), second.step()
print(digest(net))
""",
    "gradients made in inference mode": """
for _ in range(3):
    with torch.inference_mode():
        base = F.cross_entropy(net(x), y)
        for one in net.parameters():
            one.grad = torch.randn(one.shape) * base
    optimizer.step()
    optimizer.zero_grad()
print(digest(net))
""",
    "complex weights, warnings as errors": """
import warnings
warnings.simplefilter("error")
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 3, dtype=torch.cfloat))
    def forward(self, x):
        return (x.to(torch.cfloat) @ self.weight).abs()
net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
steps()
print(torch.view_as_real(net.weight).sum().item())
""",
    "nested batches": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 3)
    def forward(self, x):
        return torch.stack([one.mean(0) for one in self.inner(x).unbind()])
net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
parts, y = [torch.randn(n, 8) for n in (3, 4, 5)], torch.tensor([0, 1, 2])
for layout in (torch.strided, torch.jagged):
    x = torch.nested.nested_tensor(parts, layout=layout)
    steps(2)
print(digest(net))
""",
    "a mode of its own": """
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack
class Count(TorchFunctionMode):
    calls = 0
    def __torch_function__(self, function, types, args=(), kwargs=None):
        Count.calls += 1
        return function(*args, **(kwargs or {}))
for _ in range(3):
    optimizer.zero_grad()
    with Count():
        out = net(x)
    F.cross_entropy(out, y).backward()
    optimizer.step()
net(x)
print(Count.calls, len(_get_current_function_mode_stack()), len(torch.overrides._get_current_function_mode_stack()))
""",
    "a device around the forward pass": """
for _ in range(3):
    optimizer.zero_grad()
    with torch.device("meta"):
        out = net(x)
    print(torch.zeros(1).device)
    loss = F.cross_entropy(out, y)
    with torch.device("meta"):
        net(x)
        print(torch.zeros(1).device)
    loss.backward()
    print(torch.zeros(1).device)
    optimizer.step()
for _ in range(3):
    out = net(x)
    torch.set_default_device("meta")
    print(torch.zeros(1).device)
    torch.set_default_device(None)
    print(torch.zeros(1).device)
    loss = F.cross_entropy(out, y)
print(digest(net))
""",
    "a dispatch mode": """
from torch.utils._python_dispatch import TorchDispatchMode
class Count(TorchDispatchMode):
    calls = 0
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        Count.calls += 1
        return function(*args, **(kwargs or {}))
for _ in range(3):
    with Count():
        steps(1)
print(Count.calls, digest(net))
""",
    "copies that draw and print": """
import random
ended = False
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.drop = nn.Linear(8, 3), nn.Dropout(0.5)
    def forward(self, x):
        return self.inner(self.drop(x))
    def __deepcopy__(self, memo):
        if not ended:
            print("copied", random.random())
        twin = Net()
        twin.load_state_dict(self.state_dict())
        return twin
net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
steps()
print(digest(net), random.random())
ended = True
""",
    "names of arguments": """
import io
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 3)
    def forward(self, x, module=None, original=None, eye=None):
        return self.inner(x)
net = Net()
net.train(mode=True)
optimizer = torch.optim.SGD(params=net.parameters(), lr=0.1)
F.cross_entropy(input=net(x, module=1, original=2, eye=3), target=y).backward()
norm = nn.utils.clip_grad_norm_(parameters=(one for one in net.parameters()), max_norm=1.0)
torch.autograd.backward(tensors=[F.cross_entropy(net(x), y)])
optimizer.step(closure=None)
net.load_state_dict(state_dict=net.state_dict())
torch.save(obj=net.state_dict(), f=io.BytesIO())
first, second = torch.utils.data.random_split(dataset=torch.utils.data.TensorDataset(x, y), lengths=[32, 32])
torch.manual_seed(seed=3)
print(norm.item(), digest(net), len(first), torch.rand(1).item())
""",
    "torch.jit.script": """
from torch.nn.functional import cross_entropy
@torch.jit.script
def loss(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(a, b) + cross_entropy(a, b) + F.mse_loss(a, a * 0)
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 3)
    def forward(self, x, y):
        out = self.inner(x)
        return F.cross_entropy(out, y), out
steps(3, loss)
print(digest(net))
net = torch.jit.script(Net())
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for _ in range(3):
    optimizer.zero_grad()
    net(x, y)[0].backward()
    optimizer.step()
print(digest(net))
""",
    "torch.compile": """
made = torch.compile(net, backend="eager", fullgraph=True)
@torch.compile(backend="eager", fullgraph=True)
def loss(out, y):
    return F.cross_entropy(out, y) + 0.1 * out.square().mean()
@torch.compile(backend="eager", fullgraph=True)
def whole(x, y):
    return F.cross_entropy(net(x), y)
for _ in range(3):
    optimizer.zero_grad()
    (loss(made(x), y) + whole(x, y)).backward()
    optimizer.step()
print(digest(net))
""",
}
