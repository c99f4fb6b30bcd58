"""Find silent faults by experiment: on copies of a module, with a batch of its own data.

``CHECKS`` in the order in which they are run: what is worth most and costs least first.
"""

from __future__ import annotations

from netwright.checks import (
    afterwards,
    causality,
    contract,
    custom_functions,
    dropouts,
    gradients,
    inplace,
    inputs,
    mixing,
    noise,
    numerics,
    order,
    overridden,
    ownership,
    padding,
    parameters,
    reductions,
    reshapes,
    shifts,
    softmaxes,
    states,
    sweep,
)
from netwright.checks import data_scales, data_splits, data_texts, data_values
from netwright.checks.runner import Check

CHECKS: tuple[Check, ...] = (
    *states.CHECKS,
    *softmaxes.CHECKS,
    *mixing.CHECKS,
    *reshapes.CHECKS,
    *causality.CHECKS,
    *padding.CHECKS,
    *shifts.CHECKS,
    *order.CHECKS,
    *afterwards.CHECKS,
    *overridden.CHECKS,
    *parameters.CHECKS,
    *custom_functions.CHECKS,
    *gradients.CHECKS,
    *ownership.CHECKS,
    *inplace.CHECKS,
    *inputs.CHECKS,
    *noise.CHECKS,
    *dropouts.CHECKS,
    *numerics.CHECKS,
    *contract.CHECKS,
    *reductions.CHECKS,
    *reductions.LATE,
    *data_values.CHECKS,
    *data_splits.CHECKS,
    *data_texts.CHECKS,
    *data_scales.CHECKS,
    *sweep.CHECKS,  # last: it takes the longest
)
