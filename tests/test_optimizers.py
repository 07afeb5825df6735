"""Schedules, accumulation, clipping, decay, plateau and moving average, each by its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxvision.errors import UserError
from jaxvision.training import optimizers
from jaxvision.training.run import make_optimizer
from jaxvision.training.train_state import eval_variables, make_train_step, merge_params
from tests.tiny import final_state, open_run, tiny_config, train_in

PARAMS = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}


def build(steps=100, **overrides):
    return optimizers.make_optimizer(tiny_config(**overrides), steps)


def apply(optimizer, gradients):
    params, state = PARAMS, optimizer.init(PARAMS)
    for gradient in gradients:
        updates, state = optimizer.update(gradient, state, params)
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


PLATEAU = dict(
    optimizer__schedule="plateau", optimizer__plateau_patience=2, optimizer__plateau_factor=0.5,
    optimizer__warmup_steps=0, optimizer__clip_norm=0.0, optimizer__name="sgd",
    optimizer__weight_decay=0.0, optimizer__learning_rate=0.1, checkpoint__best_metric="iou",
)  # fmt: skip


@pytest.mark.parametrize(
    "higher_is_better, scores, scale",
    [
        (True, [0.1, 0.2, 0.2, 0.3, 0.1], 1.0),  # one evaluation without a better one, twice
        (True, [0.1, 0.3, 0.2, 0.29], 0.5),
        (True, [0.5, 0.5, 0.5, 0.4, 0.3], 0.25),
        (False, [2.0, 1.0, 1.5, 0.5], 1.0),
        (False, [1.0, 2.0, 3.0], 0.5),
    ],
)
@pytest.mark.parametrize("every", [1, 2])
def test_plateau_lowers_the_rate_when_validation_is_no_better(
    higher_is_better, scores, scale, every
):
    config = tiny_config(
        **PLATEAU, checkpoint__higher_is_better=higher_is_better, train__accumulate_steps=every
    )
    optimizer = optimizers.make_optimizer(config, 10)
    state = optimizer.init(PARAMS)
    for score in scores:
        state = optimizers.observe_validation(config, state, jnp.float32(score))
    assert optimizers.plateau_scale(state) == pytest.approx(scale)
    for _ in range(every):
        updates, state = optimizer.update(gradient(), state, PARAMS)
    # Nesterov's first step is (1 + .9) times the gradient.
    np.testing.assert_allclose(updates["bias"], -0.1 * 1.9 * scale, rtol=1e-6)


def test_plateau_in_a_run_lowers_the_rate_and_survives_a_resume(tmp_path, capsys):
    # A learning rate of 0 never improves on the first evaluation.
    options = {**PLATEAU, "optimizer__learning_rate": 0.0, "model__encoder__bn_momentum": 1.0}
    train_in(tmp_path, **options, train__steps=7)  # three evaluations: the last is one too many
    assert "plateau: the learning rate is now 0.5 times" in capsys.readouterr().out
    config = train_in(tmp_path, **options, train__steps=10)
    assert "plateau: the learning rate is now 0.25 times" in capsys.readouterr().out
    state = final_state(tmp_path, config)
    assert optimizers.plateau_scale(state.opt_state) == 0.25


@pytest.mark.parametrize("change", [{"optimizer__schedule": "plateau"}, {"early_stop_epochs": 3}])
def test_what_needs_a_validation_metric_says_so(change, tmp_path):
    with pytest.raises(UserError, match="needs checkpoint.best_metric of a val split, but best"):
        train_in(tmp_path, **change, checkpoint__best_metric="")


def test_moving_average_follows_the_updates(tmp_path):
    config = tiny_config(train__ema_decay=0.9, train__accumulate_steps=2)
    run, feed, state = open_run(config, tmp_path)
    step = jax.jit(make_train_step(run.task.model, make_optimizer(run), 0, 0.9, 2))
    batch = {name: array[:4] for name, array in feed.arrays.items()}
    first = step(state, batch)  # half of an update: nothing moves
    jax.tree.map(np.testing.assert_array_equal, first.params, state.params)
    jax.tree.map(np.testing.assert_array_equal, first.ema, state.ema)
    second = step(first, batch)
    fourth = step(step(second, batch), batch)

    def assert_close(ours, theirs):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), ours, theirs
        )

    # Debiased: after one update the average is that update's weights, whatever the decay.
    merged = merge_params(second.params, second.frozen)
    assert_close(eval_variables(second, 0.9)["params"], merged)
    assert_close(eval_variables(first, 0.9)["params"], merge_params(first.params, first.frozen))
    weights = 0.9 * 0.1, 0.1
    expected = jax.tree.map(
        lambda a, b: (weights[0] * a + weights[1] * b) / sum(weights), second.params, fourth.params
    )
    averaged = eval_variables(fourth, 0.9)
    assert_close(averaged["params"], merge_params(expected, fourth.frozen))
    # The statistics of batch norm go with the weights that they were taken under.
    expected = jax.tree.map(
        lambda a, b: (weights[0] * a + weights[1] * b) / sum(weights),
        second.extra["batch_stats"],
        fourth.extra["batch_stats"],
    )
    assert_close(averaged["batch_stats"], expected)
