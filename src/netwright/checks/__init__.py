"""Find silent faults by experiment: on copies of a module, with a batch of its own data.

``CHECKS`` in the order in which they are run: what is worth most and costs least first.
"""

from __future__ import annotations

from netwright.checks import contract, custom_functions, gradients, mixing, overridden, ownership, parameters, sweep
from netwright.checks.runner import Check

CHECKS: tuple[Check, ...] = (
    *mixing.CHECKS,
    *overridden.CHECKS,
    *parameters.CHECKS,
    *custom_functions.CHECKS,
    *gradients.CHECKS,
    *ownership.CHECKS,
    *contract.CHECKS,
    *sweep.CHECKS,  # last: it takes the longest
)
