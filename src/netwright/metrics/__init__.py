"""Numbers from outputs and targets: plain functions on arrays, tensors and lists, and sums that can be merged.

Runs on NumPy; torch is looked at only where a tensor is handed in. Knows nothing of records, files or words.
Each sum is a frozen dataclass with ``zero``, ``update``, ``merge`` and ``compute``: sums and counts travel between
processes, means are made last.
"""

from netwright.metrics.arrays import IGNORE_INDEX, accuracy, confusion_matrix, decide, to_array
from netwright.metrics.ranking import Area, average_precision, mean_area, roc_auc
from netwright.metrics.sums import Calibration, Confusion, Errors, Mean, TopHits

__all__ = [
    "IGNORE_INDEX",
    "Area",
    "Calibration",
    "Confusion",
    "Errors",
    "Mean",
    "TopHits",
    "accuracy",
    "average_precision",
    "confusion_matrix",
    "decide",
    "mean_area",
    "roc_auc",
    "to_array",
]
