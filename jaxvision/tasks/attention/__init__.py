"""Recurrent attention: a classifier, or an autoencoder, that sees an image in a few glimpses.

Batches hold 'image', uint8 [B, H, W, C], 'index', int32 [B], the rows' numbers in their split, and,
where there are labels, 'label', int32 [B].

One hybrid loss. The head and, through it, the core and the glimpse network learn by
backpropagation; the location network by REINFORCE alone; the baseline by its squared error.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from jaxvision.errors import UserError
from jaxvision.input_pipeline import images
from jaxvision.input_pipeline.augment import clutter
from jaxvision.models.ram import CORES, FIRST, HEADS, POLICY_SEES, RAM, Retina
from jaxvision.task import Measured, Task
from jaxvision.tasks.attention import figures, reinforce
from jaxvision.tasks.attention import metrics as metrics_attention
from jaxvision.tasks.attention import write as glimpse_files
from jaxvision.tasks.attention.glimpses import FIXED, fixed_locations

REWARDS = {"classifier": ("correct",), "decoder": ("final_error", "error_drop")}
# Evaluation puts image i of a split always at the same place, whatever the seed of the run.
CANVAS_SEED = 20140624


def make(config: ConfigDict, info: dict[str, Any]) -> Task:
    """The task of a config.

    Args:
      info: 'shape' (H, W, C) of the images and 'classes', their names.

    Raises:
      UserError: a name is unknown or a number cannot be; a classifier for images without labels.
    """
    shape = _input_shape(config, info["shape"])
    _check(config, info)
    model = _model(config, len(info["classes"]), shape)
    classes = info["classes"]
    roll = functools.partial(_roll, model, config.model.policy)
    decode = functools.partial(_decode, classes)
    return Task(
        init=lambda key, batch: model.init(key, jnp.zeros((1, *shape), jnp.uint8), key),
        load_weights=lambda variables: variables,
        augment=functools.partial(_augment, config),
        loss=functools.partial(_loss, config.loss, config.model, roll),
        metrics=functools.partial(_metrics, config, model),
        fit=lambda measured: {},
        summarize=metrics_attention.summarize,
        draw=functools.partial(_draw, config, jax.jit(roll), classes),
        predict=functools.partial(_predict, roll, config.predict.rollouts),
        decode=decode,
        predict_file=functools.partial(
            glimpse_files.predict_file,
            shape=shape,
            retina=_retina(config),
            classes=classes,
            film=config.predict.film,
            decode=decode,
        ),
        trainable=lambda path: True,
        plots=functools.partial(_plots, config, classes),
        highlights=_highlights,
        extensions=images.EXTENSIONS,
    )


def _input_shape(config, shape):
    height, width, channels = shape
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
    return (size, size, channels) if size else (height, width, channels)


def _check(config, info):
    options, loss = config.model, config.loss
    for name, value, known in (
        ("model.head", options.head, HEADS),
        ("model.core", options.core, tuple(CORES)),
        ("model.first", options.first, FIRST),
        ("model.policy_sees", options.policy_sees, POLICY_SEES),
        ("model.policy", options.policy, ("learned", *FIXED)),
        ("loss.reward", loss.reward, REWARDS.get(options.head, ())),
        ("predict.film", config.predict.film, ("gif", "mp4", "")),
    ):
        if value not in known:
            raise UserError(f"{name}={value!r} cannot be: use one of {known}")
    for name in ("glimpses", "size", "patches", "scale", "hidden", "std"):
        if not options[name] > 0:
            raise UserError(f"model.{name}={options[name]} is not positive")
    if options.head == "classifier" and not info["classes"]:
        raise UserError(
            "model.head=classifier needs labels: give folders of classes, or model.head=decoder "
            "with loss.reward=error_drop and checkpoint.best_metric=mse"
        )
    if loss.entropy_bonus and not options.learn_std:
        raise UserError(
            f"loss.entropy_bonus={loss.entropy_bonus} does nothing where the std is fixed: set "
            "model.learn_std=True, or the bonus to 0"
        )


def _retina(config):
    return Retina(config.model.size, config.model.patches, config.model.scale)


def _model(config, classes, shape):
    options = dict(config.model)
    options.pop("policy")
    options["widths"] = tuple(options["widths"])
    return RAM(classes=classes, shape=shape, dtype=jnp.dtype(config.train.dtype), **options)


def _roll(model, policy, variables, pixels, key):
    """A `Rollout` of the policy, learned or fixed."""
    key, given_key = jax.random.split(key)
    given = None
    if policy != "learned":
        given = fixed_locations(policy, given_key, model.glimpses, pixels.shape[0])
    return model.apply(variables, pixels, key, given)


def _augment(config, key, batch):
    """Puts training images on a canvas, anew each time, and shifts them."""
    place_key, other_key, shift_key = jax.random.split(key, 3)
    keys = jax.random.split(place_key, len(batch["image"]))
    pixels = _on_canvas(config, keys, other_key, batch["image"])
    return {**batch, "image": clutter.shifted(shift_key, pixels, config.augment.shift)}


def _shown(config, batch):
    """The images of evaluation: on a canvas like those of training, but always at one place."""
    key = jax.random.key(CANVAS_SEED)
    keys = jax.vmap(functools.partial(jax.random.fold_in, key))(batch["index"])
    return _on_canvas(config, keys, key, batch["image"])


def _on_canvas(config, keys, other_key, pixels):
    canvas = config.canvas
    if not canvas.size:
        return pixels
    others = clutter.other_images(other_key, pixels, canvas.clutter)
    return clutter.on_canvas(keys, pixels, others, canvas.size, canvas.clutter, canvas.clutter_size)


def _loss(options, model_options, roll, params, extra, batch, key):
    rollout = roll({"params": params, **extra}, batch["image"], key)
    if model_options.head == "classifier":
        head_loss, rewards, sums = _classify(rollout.outputs, batch["label"], model_options)
    else:
        head_loss, rewards, sums = _reconstruct(rollout.outputs, batch["image"], options)
    returns = reinforce.rewards_to_go(rewards, options.discount)
    if options.normalize_rewards:
        returns = reinforce.normalized(returns)
    baseline_loss = reinforce.baseline_loss(returns, rollout.baselines)
    loss = head_loss + baseline_loss
    if model_options.policy == "learned":
        # A first glimpse that chance or the config places was not drawn from the policy.
        drawn = slice(0 if model_options.first == "learned" else 1, None)
        log_stds = rollout.log_stds[drawn]
        log_probs = reinforce.gaussian_log_prob(
            rollout.sampled[drawn], rollout.means[drawn], log_stds
        )
        policy_loss = reinforce.policy_loss(log_probs, returns[drawn], rollout.baselines[drawn])
        loss += options.policy_weight * policy_loss
        loss -= options.entropy_bonus * reinforce.gaussian_entropy(log_stds).sum(0).mean()
    one = jnp.ones(())
    sums |= {"loss": (loss, one), "baseline_mse": (baseline_loss, one)}
    return loss, (extra, sums)


def _classify(logits, labels, model_options):
    """Cross-entropy; the last glimpse earns 1 where the answer is right."""
    cross_entropy = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    correct = (logits.argmax(-1) == labels).astype(jnp.float32)  # [B]
    rewards = jnp.zeros((model_options.glimpses, len(labels))).at[-1].set(correct)
    one = jnp.ones(())
    return (
        cross_entropy,
        rewards,
        {
            "cross_entropy": (cross_entropy, one),
            "error": (1 - correct.mean(), one),
        },
    )


def _reconstruct(outputs, pixels, options):
    """Mean squared error, pixels in [0, 1], and what each glimpse did to it."""
    errors = _squared_errors(outputs, pixels)  # [T + 1, B]
    if options.reward == "final_error":
        rewards = jnp.zeros_like(errors[1:]).at[-1].set(-errors[-1])
    else:
        rewards = errors[:-1] - errors[1:]
    loss = errors.mean() if options.every_glimpse else errors[-1].mean()
    return loss, rewards, {"mse": (errors[-1].mean(), jnp.ones(()))}


def _squared_errors(outputs, pixels):
    """[T + 1, B]: before the first glimpse and after each."""
    return ((outputs - pixels.astype(jnp.float32) / 255) ** 2).mean((2, 3, 4))


def _metrics(config, model, variables, batch, key):
    """Every row under the model's own policy and, with the same network, under the fixed ones."""
    pixels, rows = _shown(config, batch), {}
    _check_batch(model, pixels, batch)
    for i, policy in enumerate(("own", *FIXED)):
        used = config.model.policy if policy == "own" else policy
        rollouts = 1 if used in ("centre", "grid") else config.eval.rollouts
        keys = jax.random.split(jax.random.fold_in(key, i), rollouts)
        roll = functools.partial(_roll, model, used, variables, pixels)
        rolled = jax.lax.map(roll, keys)  # one after another: each holds T images a row
        if config.model.head == "classifier":
            found = metrics_attention.classifier_rows(rolled.outputs, batch["label"])
        else:
            found = metrics_attention.decoder_rows(rolled.outputs, pixels)
        rows |= {f"{name}/{policy}": value for name, value in found.items()}
        if policy == "own":
            locations = rolled.locations[0]
            rows |= metrics_attention.where_rows(locations, _retina(config), *pixels.shape[1:3])
    if "label" in batch:
        rows["label"] = batch["label"]
    return Measured({}, rows)


def _check_batch(model, pixels, batch):
    """Another data set may be evaluated than the one that the model was made for."""
    if pixels.shape[1:] != tuple(model.shape):
        raise UserError(
            f"these images are {pixels.shape[1:]} (height, width, channels), the model's were "
            f"{tuple(model.shape)}: set data.image_size, data.gray and canvas.size as in training"
        )
    if model.head == "classifier" and "label" not in batch:
        raise UserError("these images have no labels to judge a classifier by: sort them by class")


def _predict(roll, rollouts, variables, pixels):
    """Locations of one rollout with what came of it; probabilities are the mean of `rollouts`."""
    keys = jax.random.split(jax.random.key(0), rollouts)
    first = roll(variables, pixels, keys[0])
    locations = first.locations.swapaxes(0, 1)  # [B, T, 2]
    if first.outputs.ndim > 2:
        return {"locations": locations, "reconstructions": first.outputs.swapaxes(0, 1)}
    rolled = jax.lax.map(functools.partial(roll, variables, pixels), keys)
    return {"locations": locations, "probabilities": jax.nn.softmax(rolled.outputs).mean(0)}


def _decode(classes, outputs, image, fitted):
    locations = np.asarray(outputs["locations"])
    record = {"locations": locations.round(4).tolist()}
    if "probabilities" in outputs:
        probabilities = np.asarray(outputs["probabilities"])
        named = zip(classes, probabilities.round(5).tolist(), strict=True)
        label = classes[int(probabilities.argmax())]
        return {**record, "label": label, "probabilities": dict(named)}
    reconstructions = np.clip(np.asarray(outputs["reconstructions"]), 0, 1)
    errors = ((reconstructions - image / np.float32(255)) ** 2).mean((1, 2, 3))
    record["psnr"] = metrics_attention.psnr(errors).round(3).tolist()
    return {**record, "reconstruction": reconstructions[-1]}


def _draw(config, roll, classes, variables, batch, key, fitted):
    pixels = np.asarray(_shown(config, batch))
    rollout = jax.device_get(roll(variables, pixels, key))
    views = []
    for i, image in enumerate(pixels):
        truth = classes[batch["label"][i]] if "label" in batch and classes else ""
        views.append(figures.view_of(rollout, i, image, classes, truth))
    retina = _retina(config)
    return {
        "glimpses": figures.glimpse_rows(views, retina),
        "rollout": figures.film(views, retina),
    }


def _plots(config, classes, measured, fitted):
    rows = measured.rows
    # The first glimpse knows nothing yet: it would outshine what depends on the image.
    skipped = int(config.model.policy == "learned" and config.model.glimpses > 1)
    labels = rows.get("label", np.zeros(len(rows["locations"]), np.int32))
    maps = figures.heat_maps(rows["locations"][:, skipped:], labels, classes or ["all"])
    drawn = {"where_it_looks": maps}
    if "psnr/own" in rows:
        drawn["psnr_by_glimpse"] = figures.psnr_curves(metrics_attention.psnr_by_glimpse(rows))
    return drawn


def _highlights(measured, fitted):
    worst = "nll/own" if "nll/own" in measured.rows else "mse/own"
    values = measured.rows[worst]
    return {"worst": np.argsort(-(values if values.ndim == 1 else values[:, -1]))}
