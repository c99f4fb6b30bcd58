"""Intervals hold the truth as often as they say: measured by simulation, 95 ± 1.5 %.

With 2,000 simulations the measured share itself is off by 0.5 points (one standard deviation), so each simulation has a
fixed seed; where the number of possible outcomes is small the exact share is summed up instead.
"""

import numpy as np
import pytest
from scipy.stats import binom, binomtest, norm

from netwright.errors import UsageError
from netwright.intervals import (
    bootstrap_bca,
    bootstrap_t,
    logit_normal,
    resampled_means,
    wilson,
    wilson_effective,
    wilson_f1,
)
from netwright.metrics import average_precision, mean_area, roc_auc
from netwright.metrics.rates import mean_rate

SIMULATIONS = 2_000


def holds(share: float) -> bool:
    return 0.935 <= share <= 0.965


@pytest.mark.parametrize(("successes", "count"), [(0, 1), (1, 1), (0, 50), (50, 50), (7, 10), (9_912, 10_000)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_wilson_is_that_of_scipy(successes: int, count: int, confidence: float) -> None:
    """The closed form agrees with the library's, which is too slow for a thousand classes."""
    wanted = binomtest(successes, count).proportion_ci(confidence, method="wilson")
    assert wilson(successes, count, confidence=confidence) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


def test_wilson_of_nothing_is_everything() -> None:
    """Without samples any share may be the true one."""
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("successes", "count", "confidence"), [(5, 4, 0.95), (-1, 4, 0.95), (1, 4, 95)])
def test_what_is_no_share_is_refused(successes: int, count: int, confidence: float) -> None:
    """More successes than tries, or a confidence in percent."""
    with pytest.raises(UsageError):
        wilson(successes, count, confidence=confidence)


def wilson_coverage(share: float, count: int) -> float:
    """Exact: the chance of each outcome, summed over those whose interval holds the truth."""
    outcomes = np.arange(count + 1)
    chance = binom.pmf(outcomes, count, share)
    likely = outcomes[chance > 1e-12]
    inside = [wilson(int(k), count)[0] <= share <= wilson(int(k), count)[1] for k in likely]
    return float(chance[likely] @ np.array(inside))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8, 0.9])
@pytest.mark.parametrize("count", [200, 1_000, 10_000])
def test_wilson_covers_accuracy(share: float, count: int) -> None:
    """At each of these accuracies."""
    assert holds(wilson_coverage(share, count))


@pytest.mark.parametrize("count", [200, 1_000])
def test_wilson_covers_high_accuracies_on_average(count: int) -> None:
    """From 90 to 99 %: as counts are whole, a single accuracy may be off by 2 points (0.967 at 95 % of 200)."""
    assert holds(float(np.mean([wilson_coverage(share, count) for share in np.linspace(0.9, 0.99, 37)])))


def test_a_naive_interval_would_not_cover() -> None:
    """The twin: the textbook normal interval at 200 samples and an accuracy of 98 % holds it in under 93.5 %."""
    outcomes = np.arange(201)
    shares = outcomes / 200
    half = 1.96 * np.sqrt(shares * (1 - shares) / 200)
    inside = (shares - half <= 0.98) & (shares + half >= 0.98)
    assert not holds(float(binom.pmf(outcomes, 200, 0.98) @ inside))


def test_wilson_covers_f1_of_a_class() -> None:
    """Through the share of the union that is both."""
    generator = np.random.default_rng(0)
    cells = np.array([0.12, 0.05, 0.03, 0.8])  # hit, missed, false alarm, rest
    truth = 2 * cells[0] / (2 * cells[0] + cells[1] + cells[2])
    inside = 0
    for hits, missed, false, _ in generator.multinomial(400, cells, SIMULATIONS):
        low, high = wilson_f1(int(hits), int(hits + missed), int(hits + false))
        inside += low <= truth <= high
    assert holds(inside / SIMULATIONS)


def true_cells(num_classes: int, accuracy: float, imbalance: float) -> np.ndarray:
    """Chances of true against predicted class: uneven classes, some harder than others."""
    generator = np.random.default_rng(1)
    prior = np.geomspace(1, 1 / imbalance, num_classes)
    right = np.clip(accuracy + np.linspace(-0.5, 0.25, num_classes) * (1 - accuracy), 0, 0.999)
    wrong = generator.random((num_classes, num_classes)) * (1 - np.eye(num_classes))
    cells = wrong / wrong.sum(1, keepdims=True) * (1 - right)[:, None] + np.diag(right)
    return np.asarray(cells * (prior / prior.sum())[:, None])


@pytest.mark.parametrize(
    "case", [(2, 0.9, 1, 200), (3, 0.97, 1, 200), (5, 0.8, 1, 300), (10, 0.9, 10, 1000), (5, 0.9, 30, 500)]
)
@pytest.mark.parametrize(("kind", "weighted"), [("recall", False), ("f1", False), ("precision", False), ("f1", True)])
def test_effective_wilson_covers_means_over_classes(
    case: tuple[int, float, int, int], kind: str, weighted: bool
) -> None:
    """Balanced accuracy, macro F1 and precision, weighted F1: even and uneven classes."""
    num_classes, accuracy, imbalance, count = case
    cells = true_cells(num_classes, accuracy, imbalance)
    truth = mean_rate((cells * 1e12).round(), kind, weighted=weighted).value  # type: ignore[arg-type]
    generator = np.random.default_rng(2)
    inside = 0
    for drawn in generator.multinomial(count, cells.ravel() / cells.sum(), SIMULATIONS):
        counts = drawn.reshape(num_classes, num_classes)
        mean = mean_rate(counts, kind, weighted=weighted)  # type: ignore[arg-type]
        mistakes = int(count - np.trace(counts))
        low, high = wilson_effective(
            mean.value, variance=mean.variance, plain_count=mean.plain_count, mistakes=mistakes
        )
        inside += low <= truth <= high
    assert holds(inside / SIMULATIONS)


def test_a_class_seen_three_times_keeps_the_interval_wide() -> None:
    """All right, but one class has 3 samples: the balanced accuracy is not known to be 100 %."""
    mean = mean_rate(np.diag([9_997, 3]), "recall")
    low, high = wilson_effective(mean.value, variance=mean.variance, plain_count=mean.plain_count, mistakes=0)
    assert high == 1.0
    assert low < 0.85
    assert wilson_effective(0.0, variance=0.0, plain_count=10.0, mistakes=10)[0] == 0.0


@pytest.mark.parametrize(("distance", "share", "count"), [(1.0, 0.5, 200), (2.0, 0.3, 200), (1.5, 0.05, 1000)])
def test_delong_covers_the_area_under_the_curve(distance: float, share: float, count: int) -> None:
    """Two normal distributions, whose true area is known."""
    generator = np.random.default_rng(3)
    truth = norm.cdf(distance / np.sqrt(2))
    inside = 0
    for _ in range(SIMULATIONS):
        positive = generator.random(count) < share
        area = roc_auc(generator.normal(size=count) + distance * positive, positive)
        low, high = logit_normal(area.value, variance=area.variance, fallback_count=area.rarer)  # type: ignore[union-attr]
        inside += low <= truth <= high
    assert holds(inside / SIMULATIONS)


def test_delong_near_one_covers_at_least() -> None:
    """An area of 0.98 from 40 positives: too wide rather than too narrow."""
    generator = np.random.default_rng(4)
    truth = norm.cdf(3 / np.sqrt(2))
    inside = 0
    for _ in range(SIMULATIONS):
        positive = generator.random(400) < 0.1
        area = roc_auc(generator.normal(size=400) + 3 * positive, positive)
        low, high = logit_normal(area.value, variance=area.variance, fallback_count=area.rarer)  # type: ignore[union-attr]
        inside += low <= truth <= high
    assert inside / SIMULATIONS >= 0.935


def softmax_case(generator: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    targets = generator.integers(0, 4, count)
    logits = generator.normal(size=(count, 4))
    logits[np.arange(count), targets] += 1.5
    return logits - np.log(np.exp(logits).sum(1, keepdims=True)), targets


@pytest.mark.parametrize("area", [roc_auc, average_precision])
def test_jackknife_covers_macro_areas(area: object) -> None:
    """Mean over four classes against the rest, for both curves."""
    generator = np.random.default_rng(5)
    logs, targets = softmax_case(generator, 400_000)
    truth = mean_area([area(logs[:, c], targets == c) for c in range(4)]).value  # type: ignore[operator]
    inside = 0
    for _ in range(1_500):
        logs, targets = softmax_case(generator, 400)
        mean = mean_area([area(logs[:, c], targets == c) for c in range(4)])  # type: ignore[operator]
        low, high = logit_normal(mean.value, variance=mean.variance, fallback_count=mean.rarer)
        inside += low <= truth <= high
    assert holds(inside / 1_500)


def test_perfect_order_is_not_certain() -> None:
    """All pairs in order among 10 and 10: the area may well be below 1."""
    area = roc_auc(np.arange(20.0), np.arange(20) >= 10)
    assert area is not None
    assert area.value == 1.0
    low, high = logit_normal(area.value, variance=area.variance, fallback_count=area.rarer)
    assert (0.6 < low < 0.9, high) == (True, 1.0)


@pytest.mark.parametrize("kind", ["absolute", "squared", "log_loss"])
@pytest.mark.parametrize("count", [200, 500])
def test_bootstrap_covers_mean_losses(kind: str, count: int) -> None:
    """Mean absolute error, mean squared error and log-loss. Simulated samples are columns that share their draws."""
    generator = np.random.default_rng(6)

    def draw(size: tuple[int, ...]) -> np.ndarray:
        if kind == "log_loss":
            return np.asarray(np.log1p(np.exp(generator.normal(-3, 2, size))))
        error = np.abs(generator.normal(0, 1, size))
        return error if kind == "absolute" else error**2

    truth = draw((4_000_000,)).mean()
    intervals = bootstrap_t(draw((count, SIMULATIONS)), seed=0)
    assert holds(float(np.mean([low <= truth <= high for low, high in intervals])))


def test_bca_covers_explained_variance() -> None:
    """R² of 200 samples."""
    generator = np.random.default_rng(7)
    inside = 0
    for seed in range(SIMULATIONS):
        targets = generator.normal(size=200)
        squares = (0.2 * targets + generator.normal(0, 0.4, 200)) ** 2
        centred = targets - targets.mean()
        spread = centred.var()
        low, high = bootstrap_bca(
            np.stack([squares, centred, centred**2], axis=1),
            lambda means: 1 - means[..., 0] / (means[..., 2] - means[..., 1] ** 2),
            squares.mean() * centred**2 / spread**2 - squares / spread,
            seed=seed,
        )
        inside += low <= 0.8 <= high
    assert holds(inside / SIMULATIONS)


def test_same_seed_gives_the_same_draws() -> None:
    """And another seed others."""
    values = np.random.default_rng(8).exponential(size=(100, 1))
    assert bootstrap_t(values, seed=1) == bootstrap_t(values, seed=1)
    assert bootstrap_t(values, seed=1) != bootstrap_t(values, seed=2)
    assert np.std(resampled_means(values, seed=0)) == pytest.approx(values.std() / 10, rel=0.1)


def test_a_single_large_loss_does_not_blow_up_the_interval() -> None:
    """Few samples with one outlier, or hardly any loss that is not 0: wide, but a number."""
    for values in ([0.001] * 9 + [1.0], [0.0] * 299 + [1.0], [1.0, 2.0], [0.0, 1.0, 0.0]):
        low, high = bootstrap_t(np.array(values)[:, None], seed=0)[0]
        assert 0 <= low < np.mean(values) < high < 1e5 * np.mean(values)


def test_equal_losses_have_an_interval_of_no_width() -> None:
    """Also where all are 0; and many samples take the normal way, which agrees with drawing."""
    assert bootstrap_t(np.zeros((10, 1)), seed=0) == [(0.0, 0.0)]
    assert bootstrap_t(np.full((10, 1), 2.0), seed=0) == [(2.0, 2.0)]
    assert bootstrap_bca(np.ones((10, 1)), lambda means: means[..., 0], np.zeros(10), seed=0) == (1.0, 1.0)
    values = np.random.default_rng(9).exponential(size=(50_001, 1))
    (low, high), (few_low, few_high) = (
        bootstrap_t(values, seed=0)[0],
        bootstrap_t(values[:-1], seed=0, resamples=400)[0],
    )
    assert (low, high) == pytest.approx((few_low, few_high), rel=2e-3)
    wide = bootstrap_bca(values, lambda means: means[..., 0], values[:, 0] - values.mean(), seed=0)
    assert wide == pytest.approx((low, high), rel=1e-3)
