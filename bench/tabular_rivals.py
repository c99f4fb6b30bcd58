"""Keras, scikit-learn and JAX on the table of bench/tabular.py, as their own users write it."""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
from speed_loops import Answer, order

BATCH, RATE = 64, 1e-3
DECAY = 0.01  # AdamW's, as torch has it by default; optax's own is 0.0001 and Keras's 0.004
LAYERS = ("0", "2", "4")


def _held(options: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    held = np.load(options["file"])
    weights = [(held[f"{name}.weight"].T.copy(), held[f"{name}.bias"]) for name in LAYERS]
    return held["x"], held["y"], weights


def _answer(marks: list[float], count: int, loss: float, began: float) -> Answer:
    later = len(marks) - 1
    return {
        "seconds": marks[-1] - marks[0], "steps": later * -(-count // BATCH), "samples": later * count,
        "whole_s": marks[-1] - began, "loss": loss,
    }  # fmt: skip


def _mean_loss(x: np.ndarray, y: np.ndarray, weights: list[Any]) -> float:
    for place, (weight, bias) in enumerate(weights):
        x = x @ np.asarray(weight) + np.asarray(bias)
        x = np.maximum(x, 0) if place < len(weights) - 1 else x
    top = x.max(1, keepdims=True)
    logs = x - top - np.log(np.exp(x - top).sum(1, keepdims=True))
    return float(-logs[np.arange(len(y)), y].mean())


def keras(options: dict[str, Any]) -> Any:
    """``compile`` and ``fit``, on the backend that KERAS_BACKEND names."""
    import keras as k

    x, y, weights = _held(options)

    class Clock(k.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.marks: list[float] = []

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.marks.append(time.perf_counter())

    def run() -> Answer:
        began, clock = time.perf_counter(), Clock()
        k.utils.set_random_seed(0)
        layers = k.layers
        model = k.Sequential([
            k.Input((20,)), layers.Dense(64, activation="relu"), layers.Dense(64, activation="relu"), layers.Dense(3),
        ])  # fmt: skip
        model.set_weights([part for pair in weights for part in pair])
        model.compile(
            k.optimizers.AdamW(RATE, weight_decay=DECAY, epsilon=1e-8),
            k.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        model.fit(x, y, batch_size=BATCH, epochs=options["epochs"], verbose=0, callbacks=[clock])
        flat = model.get_weights()
        return _answer(clock.marks, len(x), _mean_loss(x, y, list(zip(flat[::2], flat[1::2], strict=True))), began)

    return run


def scikit_learn(options: dict[str, Any]) -> Any:
    """It has Adam without decay, and draws its first weights itself; a fit of one epoch is taken off."""
    from sklearn.neural_network import MLPClassifier

    x, y, _ = _held(options)

    def fit(epochs: int) -> tuple[Any, float]:
        began = time.perf_counter()
        model = MLPClassifier(
            (64, 64), batch_size=BATCH, learning_rate_init=RATE, alpha=0, max_iter=epochs, tol=0,
            n_iter_no_change=10**9, random_state=0,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has not converged
            model.fit(x, y)
        return model, time.perf_counter() - began

    def run() -> Answer:
        _, once = fit(1)
        began = time.perf_counter()
        model, seconds = fit(options["epochs"])
        loss = _mean_loss(x, y, list(zip(model.coefs_, model.intercepts_, strict=True)))
        return _answer([began + once, *[began + seconds] * (options["epochs"] - 1)], len(x), loss, began)

    return run


def _jax(options: dict[str, Any]) -> Any:
    import jax
    import jax.numpy as jnp
    import optax

    x, y, weights = _held(options)
    rule = optax.adamw(RATE, weight_decay=DECAY)

    def loss(params: Any, x: Any, y: Any) -> Any:
        for weight, bias in params[:-1]:
            x = jax.nn.relu(x @ weight + bias)
        logits = x @ params[-1][0] + params[-1][1]
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    def update(state: Any, x: Any, y: Any) -> tuple[Any, Any]:
        params, held = state
        value, gradients = jax.value_and_grad(loss)(params, x, y)
        change, held = rule.update(gradients, held, params)
        return (optax.apply_updates(params, change), held), value

    def start() -> Any:
        params = [(jnp.array(weight), jnp.array(bias)) for weight, bias in weights]
        return params, rule.init(params)

    return jnp.array(x), jnp.array(y.astype(np.int32)), update, start


def jax_step(options: dict[str, Any]) -> Any:
    """One jitted update a batch, and batches indexed out of arrays by NumPy's order."""
    import jax

    x, y, _ = _held(options)
    y = y.astype(np.int32)
    *_, update, start = _jax(options)

    def run() -> Answer:
        began, marks = time.perf_counter(), []
        step, state = jax.jit(update, donate_argnums=0), start()
        for epoch in range(options["epochs"]):
            places = order(len(x), epoch)
            for first in range(0, len(x), BATCH):
                part = places[first : first + BATCH]
                state, value = step(state, x[part], y[part])
            value.block_until_ready()
            marks.append(time.perf_counter())
        return _answer(marks, len(x), _mean_loss(x, y, state[0]), began)

    return run


def jax_scan(options: dict[str, Any]) -> Any:
    """A program for a whole epoch: ``lax.scan`` over its batches, and the smaller last one after it."""
    import jax

    x, y, update, start = _jax(options)
    count, full = len(x), len(x) // BATCH * BATCH

    def epoch_of(state: Any, x: Any, y: Any, places: Any) -> tuple[Any, Any]:
        def body(state: Any, part: Any) -> tuple[Any, Any]:
            return update(state, x[part], y[part])

        state, values = jax.lax.scan(body, state, places[:full].reshape(-1, BATCH))
        if full < count:
            state, _ = update(state, x[places[full:]], y[places[full:]])
        return state, values.mean()

    def run() -> Answer:
        began, marks = time.perf_counter(), []
        step, state = jax.jit(epoch_of, donate_argnums=0), start()
        for epoch in range(options["epochs"]):
            state, value = step(state, x, y, order(count, epoch).astype(np.int32))
            jax.block_until_ready(state)
            marks.append(time.perf_counter())
        return _answer(marks, count, _mean_loss(np.asarray(x), np.asarray(y), state[0]), began)

    return run
