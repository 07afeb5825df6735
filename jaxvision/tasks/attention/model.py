"""The network of glimpses, its hybrid loss and what is measured of it."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from jaxvision.errors import UserError
from jaxvision.models.ram import RAM
from jaxvision.task import Measured, Model
from jaxvision.tasks.attention import canvas, figures, metrics, reinforce
from jaxvision.tasks.attention.glimpses import FIXED, fixed_locations
from jaxvision.tasks.attention.psnr import psnr
from jaxvision.tasks.attention.shapes import input_shape, make_retina


def make_model(config: ConfigDict, info: dict[str, Any]) -> Model:
    """The functions of a config's network.

    Raises:
      UserError: a name is unknown or a number cannot be; a classifier for images without labels.
    """
    _check_canvas(config, info["shape"])
    _check(config, info)
    shape = input_shape(config, info["shape"])
    network = make_network(config, len(info["classes"]), shape)
    roll = functools.partial(rollout_of, network, config.model.policy)
    used = functools.partial(roll, noise_scale=_noise_in_use(config))
    return Model(
        init=lambda key, batch: network.init(key, jnp.zeros((1, *shape), jnp.uint8), key),
        load_weights=lambda variables: variables,
        augment=functools.partial(canvas.augment, config),
        loss=functools.partial(_loss, config.loss, config.model, roll),
        metrics=functools.partial(_metrics, config, network),
        predict=functools.partial(_predict, used, config.predict.rollouts),
        input_shape=shape,
    )


def make_network(config: ConfigDict, classes: int, shape: tuple[int, int, int]) -> RAM:
    """The linen module of a config, for images of (H, W, C)."""
    options = dict(config.model)
    for name in ("policy", "at_means"):
        options.pop(name)
    options["widths"] = tuple(options["widths"])
    return RAM(classes=classes, shape=shape, dtype=jnp.dtype(config.train.dtype), **options)


def _check_canvas(config, shape):
    height, width, _ = shape
    size = config.canvas.size
    if size and size < max(height, width):
        raise UserError(
            f"canvas.size={size} is less than the images of {height} x {width} pixels: enlarge it"
        )
    if size and config.canvas.clutter and config.canvas.clutter_size > min(height, width):
        raise UserError(
            f"canvas.clutter_size={config.canvas.clutter_size} is more than the images of {height} "
            f"x {width} pixels, from which the pieces are cut"
        )


def _check(config, info):
    if config.model.head == "classifier" and not info["classes"]:
        raise UserError(
            "model.head=classifier needs labels: give folders of classes, or model.head=decoder "
            "with loss.reward=error_drop and checkpoint.best_metric=mse"
        )


def _noise_in_use(config):
    """By which the policy's noise is multiplied once it is trained."""
    return 0.0 if config.model.at_means else 1.0


def rollout_of(network, policy, variables, pixels, key, alike=False, noise_scale=1.0):
    """A `Rollout` of the policy, learned or fixed; `alike`, `noise_scale` as of `RAM.__call__`."""
    key, given_key = jax.random.split(key)
    given, batch = None, pixels.shape[0]
    if policy != "learned":
        given = fixed_locations(policy, given_key, network.glimpses, 1 if alike else batch)
        given = jnp.broadcast_to(given, (network.glimpses, batch, 2))
    return network.apply(variables, pixels, key, given, alike, noise_scale)


def _loss(options, model_options, roll, params, extra, batch, key):
    noise_scale, images = 1.0, len(batch["image"])
    learned = model_options.policy == "learned"
    if learned and options.baseline == "means":  # each image once more, looked at without noise
        noise_scale = jnp.repeat(jnp.asarray([1.0, 0.0]), images)[:, None]
        batch = jax.tree.map(lambda rows: jnp.concatenate([rows, rows]), batch)
    rollout = roll({"params": params, **extra}, batch["image"], key, noise_scale=noise_scale)
    if model_options.head == "classifier":
        head_loss, rewards, sums = classify(rollout.outputs, batch["label"], model_options)
    else:
        head_loss, rewards, sums = reconstruct(rollout.outputs, batch["image"], options)
    returns = reinforce.rewards_to_go(rewards, options.discount)
    if options.normalize_rewards:
        returns = reinforce.normalized(returns)
    loss, one = head_loss, jnp.ones(())
    if learned and options.baseline == "means":
        advantages = reinforce.over_means(returns)
    else:
        baseline_loss = reinforce.baseline_loss(returns, rollout.baselines)
        advantages = returns - rollout.baselines
        loss += baseline_loss
        sums |= {"baseline_mse": (baseline_loss, one)}
    if learned:
        # A first glimpse that chance or the config places was not drawn from the policy.
        drawn = slice(0 if model_options.first == "learned" else 1, None), slice(images)
        log_stds = rollout.log_stds[drawn]
        policy_loss = reinforce.policy_loss(
            rollout.means[drawn], log_stds, rollout.sampled[drawn], advantages[drawn]
        )
        loss += options.policy_weight * policy_loss
        loss -= options.entropy_bonus * reinforce.gaussian_entropy(log_stds).sum(0).mean()
    return loss, (extra, sums | {"loss": (loss, one)})


def classify(logits, labels, model_options):
    """Cross-entropy; the last glimpse earns 1 where the answer is right."""
    cross_entropy = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    correct = (logits.argmax(-1) == labels).astype(jnp.float32)  # [B]
    rewards = jnp.zeros((model_options.glimpses, labels.shape[0])).at[-1].set(correct)
    one = jnp.ones(())
    sums = {"cross_entropy": (cross_entropy, one), "error": (1 - correct.mean(), one)}
    return cross_entropy, rewards, sums


def reconstruct(outputs, pixels, options):
    """Mean squared error, pixels in [0, 1], and what each glimpse did to it."""
    errors = metrics.squared_errors(outputs, pixels)  # [T + 1, B]
    if options.reward == "final_error":
        rewards = jnp.zeros_like(errors[1:]).at[-1].set(-errors[-1])
    else:
        rewards = errors[:-1] - errors[1:]
    loss = errors.mean() if options.every_glimpse else errors[-1].mean()
    return loss, rewards, {"mse": (errors[-1].mean(), jnp.ones(()))}


def _metrics(config, network, variables, batch, key):
    """Every row under the model's own policy and, with the same network, under the fixed ones."""
    pixels, rows = canvas.evaluation_images(config, batch), {}
    _check_batch(network, pixels, batch)
    for i, policy in enumerate(("own", *FIXED)):
        used = config.model.policy if policy == "own" else policy
        rollouts = 1 if used in ("centre", "grid") else config.eval.rollouts
        keys = jax.random.split(jax.random.fold_in(key, i), rollouts)
        roll = functools.partial(
            rollout_of, network, used, variables, pixels, noise_scale=_noise_in_use(config)
        )
        rolled = jax.lax.map(roll, keys)  # one after another: each holds T images a row
        if config.model.head == "classifier":
            judged = metrics.classifier_rows(rolled.outputs, batch["label"])
        else:
            judged = metrics.decoder_rows(rolled.outputs, pixels)
        rows |= {f"{name}/{policy}": value for name, value in judged.items()}
        if policy == "own":
            locations = rolled.locations[0]
            rows |= metrics.where_rows(locations, make_retina(config), *pixels.shape[1:3])
            if config.model.head == "decoder":
                every = config.loss.every_glimpse
                rows["loss"] = metrics.decoder_loss(rolled.outputs[0], pixels, every)
    if "label" in batch:
        rows["label"] = batch["label"]
    return Measured({}, rows)


def _check_batch(network, pixels, batch):
    """Another data set may be evaluated than the one that the model was made for."""
    if pixels.shape[1:] != tuple(network.shape):
        raise UserError(
            f"these images are {pixels.shape[1:]} (height, width, channels), the model's were "
            f"{tuple(network.shape)}: set data.image_size, data.gray and canvas.size as in training"
        )
    if network.head == "classifier" and "label" not in batch:
        raise UserError("these images have no labels to judge a classifier by: sort them by class")


def _predict(roll, rollouts, variables, pixels):
    """Locations of one rollout with what came of it; probabilities are the mean of `rollouts`.

    Every image gets the same noise, so that its answer does not depend on those beside it.
    """
    keys = jax.random.split(jax.random.key(0), rollouts)
    roll = functools.partial(roll, variables, pixels, alike=True)
    first = roll(keys[0])
    locations = first.locations.swapaxes(0, 1)  # [B, T, 2]
    if first.outputs.ndim > 2:
        return {"locations": locations, "reconstructions": first.outputs.swapaxes(0, 1)}
    rolled = jax.lax.map(roll, keys)
    return {"locations": locations, "probabilities": jax.nn.softmax(rolled.outputs).mean(0)}


def make_draw(config: ConfigDict, info: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    """`Report.draw`: rollouts at a few images, as rows of pictures and as a film."""
    shape = input_shape(config, info["shape"])
    network = make_network(config, len(info["classes"]), shape)
    roll = functools.partial(rollout_of, network, config.model.policy)
    roll = jax.jit(functools.partial(roll, noise_scale=_noise_in_use(config)))
    return functools.partial(_draw, config, roll, info["classes"])


def _draw(config, roll, classes, variables, batch, key, fitted):
    pixels = np.asarray(canvas.evaluation_images(config, batch))
    rollout = jax.device_get(roll(variables, pixels, key))
    views = []
    for i, image in enumerate(pixels):
        truth = classes[batch["label"][i]] if "label" in batch and classes else ""
        views.append(_view_of(rollout, i, image, classes, truth))
    retina = make_retina(config)
    return {
        "glimpses": figures.glimpse_rows(views, retina),
        "rollout": figures.film(views, retina),
    }


def _view_of(rollout, i, image, classes, truth):
    """Image i of a `Rollout` on the host; `truth` is '' where it is not known."""
    locations, outputs = rollout.locations[:, i], rollout.outputs
    if outputs.ndim > 2:
        errors = ((np.clip(outputs[:, i], 0, 1) - image / np.float32(255)) ** 2).mean((1, 2, 3))
        decibels = psnr(errors[-1])
        return figures.View(image, locations, outputs[:, i], f"{truth} {decibels:.1f} dB".strip())
    predicted = f"predicted {classes[int(outputs[i].argmax())]}"
    title = f"true {truth}, {predicted}" if truth else predicted
    return figures.View(image, locations, None, title)
