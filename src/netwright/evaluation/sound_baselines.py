"""What the colour of a sound alone says: a linear model on how loud each band is, and how much that changes."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from netwright.data.sound_source import SoundSource

# Sounds that are fitted and scored: 5,000 of a second take some 10 s on one core.
MAX_SOUNDS = 5_000
BANDS = 40
AT_ONCE_SAMPLES = 2_000_000
# scikit-learn's C on standardised bands: 0.1 and 1 differ by less than a point on spoken digits, 10 is worse.
INVERSE_PENALTY = 1.0
FIT_STEPS = 300


def band_features(source: SoundSource, ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """Mean and deviation of each log-mel band over the frames of a sound, and its length's logarithm.

    Args:
        source: Where the sounds are.
        ids: Which of them, int64 (N,).

    Returns:
        float32 (N, 2 * BANDS + 1).
    """
    import torch

    from netwright.blocks.masks import mask_of
    from netwright.blocks.sound import LogMel

    bands = LogMel(source.operation.sample_rate, num_bands=BANDS)
    found = np.empty((len(ids), 2 * BANDS + 1), dtype=np.float32)
    order = np.argsort(source.sizes[ids], kind="stable")  # so that little is padding
    begin = 0
    with torch.no_grad():
        while begin < len(order):
            longest = int(source.sizes[ids[order[min(begin + 63, len(order) - 1)]]])
            size = max(1, min(64, AT_ONCE_SAMPLES // max(1, longest)))
            rows = order[begin : begin + size]
            inputs = source.waves(ids[rows])
            values, frames = bands(inputs["sound"], inputs["lengths"])
            real = mask_of(frames, values.shape[1])[..., None]
            count = frames[:, None].clamp_min(1)
            mean = (values * real).sum(1) / count
            deviation = (((values - mean[:, None]) * real).square().sum(1) / count).sqrt()
            found[rows] = torch.cat((mean, deviation, frames[:, None].float().log()), dim=1).numpy()
            begin += size
    return found


def band_answers(
    train: SoundSource,
    ids: NDArray[np.int64],
    targets: NDArray[Any],
    scored: SoundSource,
    asked: NDArray[np.int64],
) -> NDArray[Any]:
    """Fit a logistic regression on training sounds; its answers to others, (len(asked),).

    Args:
        train: Training sounds, of which ``ids`` are used.
        ids: Which of them.
        targets: Their classes.
        scored: Sounds to be answered, at ``asked``.
        asked: Which of them.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scale = StandardScaler()
    model = LogisticRegression(C=INVERSE_PENALTY, max_iter=FIT_STEPS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it need not converge to be a yardstick
        model.fit(scale.fit_transform(band_features(train, ids)), targets)
        return np.asarray(model.predict(scale.transform(band_features(scored, asked))))
