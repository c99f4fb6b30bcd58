"""Whether weights still are as torch draws them, or have been trained or loaded: told by their range and spread."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

FEWEST = 24  # numbers of a weight below which its spread tells nothing


def looks_fresh(module: nn.Module) -> bool:
    """Whether the weights of a module, or of some layer in it, are as torch's own initialisation draws them."""
    return any(_fresh(one) for one in module.modules())


def _fresh(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    if isinstance(module, (nn.Linear, _ConvNd)) and isinstance(weight, Tensor) and weight.ndim > 1:
        return _uniform(weight, (weight[0].numel()) ** -0.5)
    if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
        first = next(module.parameters(), None)
        return first is not None and _uniform(first, module.hidden_size**-0.5)
    if isinstance(module, nn.Embedding):
        return module.weight.numel() >= FEWEST and abs(float(module.weight.std()) - 1) < 0.1
    return False


def _uniform(weight: Tensor, bound: float) -> bool:
    """Whether numbers fill [-bound, bound] evenly: a trained weight goes beyond, a normal one too."""
    count = weight.numel()
    if count < FEWEST:
        return False
    most, spread = float(weight.detach().abs().max()), float(weight.detach().std())
    # The spread of n uniform numbers lies within some 2 / sqrt(n) of bound / sqrt(3).
    return 0.8 * bound < most <= 1.0001 * bound and abs(spread / (bound / 3**0.5) - 1) < 0.03 + 2 * count**-0.5
