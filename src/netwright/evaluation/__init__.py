"""What a model scored: each number with its interval, beside what simple methods score, with doubts in plain words.

Runs on NumPy, SciPy and scikit-learn, some baselines on torch; predictions come in as arrays. Knows nothing of modules,
of the run folder or of words on a screen.
"""

from netwright.evaluation.baselines import baselines
from netwright.evaluation.notes import beside_baselines
from netwright.evaluation.predictions import Predictions
from netwright.evaluation.scoring import score
from netwright.evaluation.worst import worst_samples

__all__ = ["Predictions", "baselines", "beside_baselines", "score", "worst_samples"]
