"""Find silent faults by experiment: on copies of a module, with a batch of its own data.

``CHECKS`` in the order in which they are run: what is worth most and costs least first.
"""

from __future__ import annotations

from netwright.checks.runner import Check

CHECKS: tuple[Check, ...] = ()
