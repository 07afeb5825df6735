"""Schedules, accumulation, clipping, decay, plateau and moving average, each by its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxvision import optimizers
from jaxvision.errors import UserError
from jaxvision.run import make_optimizer
from jaxvision.train_state import make_train_step
from tests.tiny import open_run, tiny_config

PARAMS = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}


def build(steps=100, **overrides):
    return optimizers.make_optimizer(tiny_config(**overrides), steps, 10)


def apply(optimizer, gradients, values=None):
    params, state = PARAMS, optimizer.init(PARAMS)
    for i, gradient in enumerate(gradients):
        value = 1.0 if values is None else values[i]
        updates, state = optimizer.update(gradient, state, params, value=value)
        params = optax.apply_updates(params, updates)
    return params, state


def gradient(scale=1.0):
    return jax.tree.map(lambda p: scale * jnp.ones_like(p), PARAMS)


def test_warmup_then_cosine():
    config = tiny_config(
        optimizer__learning_rate=1.0, optimizer__warmup_steps=10, optimizer__schedule="cosine"
    )
    rate = optimizers.learning_rate(config, 110)
    assert [float(rate(i)) for i in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert float(rate(60)) == pytest.approx(0.5, abs=1e-3) and float(rate(110)) < 1e-6


@pytest.mark.parametrize("name", ["adamw", "sgd", "radam"])
def test_decays_kernels_only(name):
    options = dict(
        optimizer__name=name, optimizer__weight_decay=0.1, optimizer__warmup_steps=0,
        optimizer__schedule="constant", optimizer__learning_rate=0.5,
    )  # fmt: skip
    params, _ = apply(build(**options), [gradient(0.0)])
    np.testing.assert_allclose(params["bias"], 1.0)
    assert (params["kernel"] < 1).all()


def test_clips_the_global_norm():
    options = dict(
        optimizer__name="sgd", optimizer__weight_decay=0.0, optimizer__schedule="constant",
        optimizer__learning_rate=1.0, optimizer__warmup_steps=0,
    )  # fmt: skip
    clipped, _ = apply(build(**options, optimizer__clip_norm=0.1), [gradient(100.0)])
    free, _ = apply(build(**options, optimizer__clip_norm=0.0), [gradient(100.0)])
    moved = jax.tree.map(lambda a, b: a - b, clipped, PARAMS)
    # Nesterov's first step is (1 + .9) times the gradient.
    assert float(optax.tree.norm(moved)) == pytest.approx(0.19, rel=1e-5)
    assert float(free["bias"][0]) == pytest.approx(1 - 190)


def test_accumulation_is_one_update_with_the_mean_gradient():
    options = dict(optimizer__warmup_steps=0, optimizer__clip_norm=0.0)
    split, _ = apply(build(train__accumulate_steps=2, **options), [gradient(1.0), gradient(3.0)])
    whole, _ = apply(build(steps=50, **options), [gradient(2.0)])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), split, whole)


def test_plateau_lowers_the_rate_when_the_loss_stands_still():
    options = dict(
        optimizer__schedule="plateau", optimizer__plateau_patience=2, optimizer__warmup_steps=0
    )
    optimizer = build(**options)
    _, state = apply(optimizer, [gradient()] * 50, [1.0] * 50)  # five epochs of ten steps
    scale = optax.tree_utils.tree_get(state, "scale")
    assert float(scale) < 1
    _, state = apply(optimizer, [gradient()] * 50, np.linspace(5.0, 1.0, 50))
    assert float(optax.tree_utils.tree_get(state, "scale")) == 1


def test_moving_average_follows_the_updates(tmp_path):
    config = tiny_config(train__ema_decay=0.9, train__accumulate_steps=2)
    run, feed, state = open_run(config, tmp_path)
    step = jax.jit(make_train_step(run.task, make_optimizer(run), 0, 0.9, 2))
    batch = {name: array[:4] for name, array in feed.arrays.items()}
    first = step(state, batch)  # half of an update: nothing moves
    jax.tree.map(np.testing.assert_array_equal, first.params, state.params)
    jax.tree.map(np.testing.assert_array_equal, first.ema, state.ema)
    second = step(first, batch)
    expected = jax.tree.map(lambda a, p: 0.9 * a + 0.1 * p, state.ema, second.params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7), second.ema, expected
    )


@pytest.mark.parametrize("change", [{"optimizer__name": "lion"}, {"optimizer__schedule": "step"}])
def test_unknown_names_are_told(change):
    with pytest.raises(UserError, match="is unknown: use"):
        build(**change)
