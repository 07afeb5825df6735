"""Which gradients are exactly zero, and REINFORCE against gradients that are exact."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from scipy import stats

from jaxvision.tasks import attention
from jaxvision.tasks.attention import model as model_lib
from jaxvision.tasks.attention import reinforce
from tests.models.test_ram import random_images
from tests.tiny_ram import ram_config

LOCATION = ("glimpse", "location")
BASELINE = ("baseline",)

PARTS = ("head", "policy", "baseline")


def part_of_loss(config, batch, part):
    """One of the three parts of the hybrid loss, the two others taken away from the outside."""
    model = model_lib.make_network(config, 3, (12, 12, 1))

    def loss(params, key):
        rollout = model_lib.rollout_of(model, "learned", {"params": params}, batch["image"], key)
        if config.model.head == "classifier":
            head, rewards, _ = model_lib.classify(rollout.outputs, batch["label"], config.model)
        else:
            head, rewards, _ = model_lib.reconstruct(rollout.outputs, batch["image"], config.loss)
        returns = reinforce.rewards_to_go(rewards, config.loss.discount)
        drawn = slice(0 if config.model.first == "learned" else 1, None)
        means, log_stds, sampled = (
            array[drawn] for array in (rollout.means, rollout.log_stds, rollout.sampled)
        )
        advantages = returns[drawn] - rollout.baselines[drawn]
        return {
            "head": head,
            "policy": reinforce.policy_loss(means, log_stds, sampled, advantages),
            "baseline": reinforce.baseline_loss(returns, rollout.baselines),
        }[part]

    return loss


@functools.cache
def gradients(head, core, first, policy_sees="state", heads_train_core=False):
    """({part: {path: gradient}}, {path: gradient of the task's whole loss}) on random images."""
    config = ram_config(
        model__head=head,
        model__core=core,
        model__first=first,
        model__policy_sees=policy_sees,
        model__heads_train_core=heads_train_core,
        loss__reward="correct" if head == "classifier" else "error_drop",
    )
    task = attention.make(config, {"shape": [12, 12, 1], "classes": ["a", "b", "c"]})
    images = random_images(16)
    batch = {"image": images, "label": np.arange(16) % 3, "index": np.arange(16)}
    params = jax.jit(task.model.init)(jax.random.key(0), batch)["params"]
    # A baseline that is not what it began with: else a wrong stop of its gradient could hide.
    params["baseline"]["bias"] += 0.3
    key = jax.random.key(1)

    @jax.jit
    def every_gradient(params):
        parts = {part: jax.grad(part_of_loss(config, batch, part))(params, key) for part in PARTS}
        return parts, jax.grad(lambda p: task.model.loss(p, {}, batch, key)[0])(params)

    parts, whole = every_gradient(params)
    return {part: flatten_dict(found) for part, found in parts.items()}, flatten_dict(whole)


def gradient_of_loss(task, batch):
    return jax.jit(
        jax.grad(lambda params: task.model.loss(params, {}, batch, jax.random.key(1))[0])
    )


SYSTEMS = [
    ("classifier", "rnn", "random"),
    ("classifier", "lstm", "learned"),
    ("decoder", "gru", "centre"),
    ("classifier", "rnn", "learned", "glimpse"),
]


def belongs(path, first):
    """The part of the loss that this parameter learns by."""
    if path[:2] == LOCATION or path[0] == "first_location":
        return "policy"
    return "baseline" if path[:1] == BASELINE else "head"


@pytest.mark.parametrize("system", SYSTEMS, ids=" ".join)
def test_each_parameter_learns_by_one_part_of_the_loss_alone(system):
    parts, _ = gradients(*system)
    first, seen = system[2], set()
    for part, found in parts.items():
        for path, gradient in found.items():
            if belongs(path, first) == part:
                seen.add(part)
                assert np.isfinite(gradient).all() and (gradient != 0).any(), (part, path)
            else:
                assert (gradient == 0).all(), f"{part} moves {'/'.join(path)}"
    assert seen == set(PARTS)
    assert ("first_location" in {path[0] for path in parts["head"]}) == (first == "learned")


@pytest.mark.parametrize("system", SYSTEMS, ids=" ".join)
def test_the_hybrid_loss_is_the_sum_of_its_parts(system):
    parts, whole = gradients(*system)
    for path, gradient in whole.items():
        total = sum(parts[part][path] for part in PARTS)
        np.testing.assert_allclose(gradient, total, rtol=1e-4, atol=1e-6, err_msg=str(path))


def test_the_core_learns_through_the_other_heads_where_the_config_says_so():
    parts, _ = gradients("classifier", "rnn", "random", heads_train_core=True)
    for part in ("policy", "baseline"):
        moved = {path[:2] for path, g in parts[part].items() if (np.asarray(g) != 0).any()}
        assert ("glimpse", "core") in moved and ("glimpse", "what") in moved, part
    assert (np.asarray(parts["policy"]["baseline", "kernel"]) == 0).all()
    assert (np.asarray(parts["head"]["glimpse", "location", "kernel"]) == 0).all()


def test_a_fixed_policy_is_not_trained():
    config = ram_config(model__head="classifier", loss__reward="correct", model__policy="grid")
    task = attention.make(config, {"shape": [12, 12, 1], "classes": ["a", "b", "c"]})
    batch = {"image": random_images(6), "label": np.arange(6) % 3, "index": np.arange(6)}
    params = jax.jit(task.model.init)(jax.random.key(0), batch)["params"]
    found = gradient_of_loss(task, batch)(params)
    assert all((g == 0).all() for g in jax.tree.leaves(found["glimpse"]["location"]))
    assert any((g != 0).any() for g in jax.tree.leaves(found["glimpse"]["core"]))


def test_entropy_bonus_widens_the_policy():
    config = ram_config(
        model__head="classifier",
        loss__reward="correct",
        model__learn_std=True,
        loss__entropy_bonus=1.0,
        loss__policy_weight=0.0,
    )
    task = attention.make(config, {"shape": [12, 12, 1], "classes": ["a", "b", "c"]})
    batch = {"image": random_images(6), "label": np.arange(6) % 3, "index": np.arange(6)}
    params = jax.jit(task.model.init)(jax.random.key(0), batch)["params"]
    found = gradient_of_loss(task, batch)(params)
    # Two glimpses were drawn; each log std adds itself to the entropy.
    np.testing.assert_allclose(found["glimpse"]["spread"]["bias"], [-2, -2], rtol=1e-5)
    assert (found["glimpse"]["location"]["kernel"] == 0).all()


# REINFORCE against the exact gradient.


def test_log_prob_entropy_and_returns_follow_their_formulas():
    rng = np.random.default_rng(0)
    sampled, means = rng.normal(size=(2, 3, 4, 2))
    log_stds = rng.normal(size=(3, 4, 2))
    normal = stats.norm(means, np.exp(log_stds))
    np.testing.assert_allclose(
        reinforce.gaussian_log_prob(sampled, means, log_stds),
        normal.logpdf(sampled).sum(-1),
        rtol=1e-4,
    )
    entropy = normal.entropy().sum(-1)
    np.testing.assert_allclose(reinforce.gaussian_entropy(log_stds), entropy, rtol=1e-5)
    rewards = np.array([[1.0, 0.0], [2.0, 0.0], [4.0, 8.0]])
    returns = reinforce.rewards_to_go(rewards, 0.5)
    np.testing.assert_allclose(returns, [[3, 2], [4, 4], [4, 8]])
    normal = np.asarray(reinforce.normalized(jnp.asarray(rng.normal(3, 5, (2, 50)))))
    np.testing.assert_allclose(normal.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(normal.std(1), 1, rtol=1e-4)
    assert np.isfinite(reinforce.normalized(jnp.ones((2, 5)))).all()


def test_a_rollout_at_the_means_takes_what_the_image_earns_anyway_out_of_the_credit():
    """Two images, one ten times as hard: the credit tells the draws apart, not the images."""
    hard, easy = 10.0, 1.0
    drawn = jnp.array([[hard + 0.2, easy - 0.1]])
    at_means = jnp.array([[hard, easy]])
    advantages = reinforce.over_means(jnp.concatenate([drawn, at_means], axis=1))
    np.testing.assert_allclose(advantages, [[0.2, -0.1]], rtol=1e-5)


def test_the_baseline_of_the_means_trains_no_head_and_both_rollouts_train_the_rest():
    config = ram_config(model__first="learned", model__start="spread", loss__baseline="means")
    task = attention.make(config, {"shape": [12, 12, 1], "classes": []})
    batch = {"image": random_images(6), "index": np.arange(6)}
    params = jax.jit(task.model.init)(jax.random.key(0), batch)["params"]
    found = flatten_dict(gradient_of_loss(task, batch)(params))
    still = {path[0] for path, gradient in found.items() if not np.asarray(gradient).any()}
    assert still == {"baseline"}
    config.loss.policy_weight = 0.0
    without = attention.make(config, {"shape": [12, 12, 1], "classes": []})
    rest = flatten_dict(gradient_of_loss(without, batch)(params))
    assert not np.asarray(rest["starts",]).any(), "the policy alone moves where its means start"
    core = "glimpse", "core", "i", "kernel"
    np.testing.assert_allclose(rest[core], found[core], rtol=1e-5, atol=1e-8)


def surrogate_loss(means, log_stds, sampled, advantages):
    """The loss whose gradient REINFORCE's is, with everything else held constant by hand."""
    log_probs = reinforce.gaussian_log_prob(sampled, means, log_stds)
    return -(log_probs * jax.lax.stop_gradient(advantages)).sum(0).mean()


def random_policy(seed):
    keys = jax.random.split(jax.random.key(seed), 4)
    means, log_stds, sampled = (0.5 * jax.random.normal(k, (5, 16, 2)) for k in keys[:3])
    return means, log_stds - 1, sampled, jax.random.normal(keys[3], (5, 16))


def test_the_explicit_gradient_is_that_of_the_surrogate_loss():
    arguments = random_policy(0)
    explicit = reinforce.reinforce_gradient(*arguments)
    expected = jax.grad(surrogate_loss, argnums=(0, 1))(*arguments)
    for ours, theirs in zip(explicit, expected, strict=True):
        assert (np.asarray(theirs) != 0).any()
        np.testing.assert_allclose(ours, -theirs, rtol=1e-6, atol=1e-6)


def test_the_policy_loss_has_the_explicit_gradient_and_no_other():
    arguments = random_policy(1)
    value, gradients = jax.value_and_grad(reinforce.policy_loss, argnums=(0, 1, 2, 3))(*arguments)
    assert value == pytest.approx(float(surrogate_loss(*arguments)), rel=1e-6)
    for ours, theirs in zip(gradients, reinforce.reinforce_gradient(*arguments), strict=False):
        np.testing.assert_allclose(ours, -theirs, rtol=1e-6)
    assert not np.asarray(gradients[2]).any() and not np.asarray(gradients[3]).any()


def estimate(gradient_of, chunks=64):
    """Mean of independent gradient estimates and its standard error, leaf by leaf."""
    keys = jax.random.split(jax.random.key(7), chunks)
    found = jax.jit(lambda keys: jax.lax.map(gradient_of, keys))(keys)
    mean = jax.tree.map(lambda g: np.asarray(g.mean(0)), found)
    error = jax.tree.map(lambda g: np.asarray(g.std(0)) / chunks**0.5, found)
    return mean, error


@pytest.mark.parametrize("baseline", [0.0, 0.7])
def test_reinforce_is_the_gradient_of_expected_reward_with_two_locations(baseline):
    """Reward 1 right of the middle, 0 left of it: the expectation is a normal's tail."""
    std, batch = 0.4, 4000

    def expected(weight):
        return jax.scipy.stats.norm.cdf(jnp.tanh(weight) / std)

    def loss(weight, key):
        mean = jnp.broadcast_to(jnp.stack([jnp.tanh(weight), 0.0]), (1, batch, 2))
        log_std = jnp.full_like(mean, jnp.log(std))
        sampled = mean + std * jax.random.normal(key, mean.shape)
        rewards = (sampled[..., 0] > 0).astype(jnp.float32)
        return reinforce.policy_loss(mean, log_std, sampled, rewards - baseline)

    weight = 0.25
    exact = jax.grad(expected)(weight)
    mean, error = estimate(lambda key: -jax.grad(loss)(weight, key))
    assert error < 0.02 * exact, "too few samples to tell"
    assert abs(mean - exact) < 4 * error


@pytest.mark.parametrize("baseline", ["learned", "means"])
def test_the_task_gives_the_location_network_the_gradient_of_expected_reward(baseline):
    """The whole task on an image of two sides, against the integral over all second glimpses."""
    std, labels = 0.3, 1
    config = ram_config(
        model__head="classifier",
        model__first="centre",
        model__glimpses=2,
        model__std=std,
        loss__reward="correct",
        loss__baseline=baseline,
    )
    task = attention.make(config, {"shape": [12, 12, 1], "classes": ["left", "right"]})
    image = np.zeros((12, 12, 1), np.uint8)
    image[:, :6] = 255
    batch = {"image": np.repeat(image[None], 500, axis=0), "label": np.full(500, labels)}
    params = jax.jit(task.model.init)(jax.random.key(3), batch)["params"]
    model = model_lib.make_network(config, 2, (12, 12, 1))
    axis = np.linspace(-1.8, 1.8, 121).astype(np.float32)  # six standard deviations
    points = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    images = np.repeat(image[None], len(points), axis=0)

    @jax.jit
    def logits_at(params, points):
        first = jnp.zeros_like(points)
        given = jnp.clip(jnp.stack([first, points]), -1, 1)
        return model.apply({"params": params}, images, jax.random.key(0), given).outputs

    # Class 1 where the second glimpse shows one side, class 0 where it shows the other.
    difference = logits_at(params, points)[:, 1] - logits_at(params, points)[:, 0]
    shift = np.array([np.median(difference), 0.0], np.float32)
    params["classifier"]["bias"] += shift
    reward = np.asarray(logits_at(params, points).argmax(-1) == labels, np.float32)
    assert 0.2 < reward.mean() < 0.8

    def expected(location):
        glimpse = {**params["glimpse"], "location": location}
        merged = {"params": {**params, "glimpse": glimpse}}
        mean = model.apply(merged, image[None], jax.random.key(0)).means[1, 0]
        log_stds = jnp.full_like(points, jnp.log(std))
        density = jnp.exp(reinforce.gaussian_log_prob(points, mean[None], log_stds))
        return (density * reward).sum() * (axis[1] - axis[0]) ** 2

    def learned(key):
        found = jax.grad(lambda p: task.model.loss(p, {}, batch, key)[0])(params)
        return jax.tree.map(jnp.negative, found["glimpse"]["location"])

    exact = jax.jit(jax.grad(expected))(params["glimpse"]["location"])
    mean, error = estimate(learned)
    largest = max(abs(g).max() for g in jax.tree.leaves(exact))
    assert max(e.max() for e in jax.tree.leaves(error)) < 0.06 * largest, "too few samples to tell"
    # The integral itself is good to about a hundredth: reward jumps between its points.
    jax.tree.map(
        lambda m, e, g: np.testing.assert_array_less(abs(m - g), 4.5 * e + 0.02 * largest),
        mean,
        error,
        exact,
    )
