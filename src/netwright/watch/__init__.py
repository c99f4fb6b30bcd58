"""Watch anyone's own training script: ``netwright watch train.py``, ``python -m netwright.watch train.py``.

with netwright.watch.watching() as seen:
    main()
print(seen.report.findings)
"""

from __future__ import annotations

from netwright.watch.examine import examine
from netwright.watch.running import Watched, run_script, watching

__all__ = ["Watched", "examine", "run_script", "watching"]
