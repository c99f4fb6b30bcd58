"""A network for series: a linear forecast, and what a small network adds to it."""

import torch
from torch import nn

from netwright.blocks import mlp


class Net(nn.Module):
    """A linear map from the window and the calendar to all steps ahead, plus a small network for what is not linear.

    The linear map alone is hard to beat (Zeng et al. 2022, arXiv:2205.13504), so both start at 0, and dropout holds
    them small.

    Args:
        context: Steps of the past.
        num_outputs: Steps ahead, times the columns that are forecast.
        columns: Columns of the past.
        calendar: Calendar features of a step.
        horizon: Steps ahead.
    """

    def __init__(
        self,
        context: int = 56,
        num_outputs: int = 7,
        columns: int = 1,
        calendar: int = 4,
        horizon: int = 7,
        hidden: int = 64,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        width = context * columns + horizon * calendar
        self.linear = nn.Linear(width, num_outputs)
        self.drop = nn.Dropout(dropout)
        self.network = mlp(width, hidden, hidden, num_outputs, activation=nn.GELU, dropout=dropout)
        for layer in (self.linear, self.network[-1]):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, past: torch.Tensor, future_calendar: torch.Tensor) -> torch.Tensor:
        """Scaled past float32 (B, context, columns) and calendar (B, horizon, calendar) to (B, num_outputs)."""
        x = self.drop(torch.cat((past.flatten(1), future_calendar.flatten(1)), dim=1))
        return self.linear(x) + self.network(x)
