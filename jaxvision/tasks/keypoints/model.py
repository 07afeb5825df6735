"""The network that locates the points: initialised, augmented, trained and applied."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from jaxvision import losses
from jaxvision.input_pipeline.augment import hindrances
from jaxvision.input_pipeline.augment import points as augment_points
from jaxvision.models import keypoints as models
from jaxvision.task import Measured, Model
from jaxvision.tasks.keypoints import heading

MODELS = {"heatmap": models.HeatmapNet, "coordinate": models.CoordinateNet}
PEAK_RADIUS = 3  # heatmap cells
FREE_FROM = 16  # pixels: sides from which the heatmap net takes any size, exported


def make_model(config, info: dict[str, Any], measure) -> Model:
    """The model of a config and the data set's `info`; `measure` is the report's."""
    names = tuple(info["keypoints"])
    model = MODELS[config.model.name](
        len(names), tuple(config.model.widths), dtype=jnp.dtype(config.train.dtype)
    )
    return Model(
        init=lambda key, batch: model.init(key, batch["image"], train=False),
        load_weights=lambda variables: variables,
        augment=functools.partial(_augment, config.augment, heading.mirror_order(names)),
        loss=functools.partial(_loss, model, config.loss),
        metrics=functools.partial(_metrics, model, config.loss, measure),
        predict=functools.partial(_predict, model),
        input_shape=_input_shape(config.model.name, info),
    )


def _input_shape(name: str, info: dict[str, Any]) -> tuple[int | str, ...]:
    """[H, W, C] of `info`; the heatmap net is fully convolutional, so its sides are free."""
    height, width, channels = info["image"]
    if name == "heatmap" and min(height, width) >= FREE_FROM:
        return "h", "w", channels
    return height, width, channels


def _predict(model, variables, images):
    """{'points': float32 [B, K, 2], 'spread': float32 [B, K]}, in pixels of the image."""
    return _outputs(model.apply(variables, images, train=False))


def _outputs(located):
    points = located.points
    if located.heatmaps is not None:
        points = models.peak_position(located.heatmaps, PEAK_RADIUS)
    return {"points": points, "spread": located.spread}


def _augment(options, swap, key, batch):
    height, width = batch["image"].shape[1:3]
    motions = {name: options[name] for name in ("rotate90", "flip", "rotation", "scale", "shift")}
    light = {name: options[name] for name in ("brightness", "contrast", "noise")}

    def one(key, image, points, visible):
        motion_key, light_key, label_key = jax.random.split(key, 3)
        motion = augment_points.random_motion(motion_key, height, width, **motions)
        image = augment_points.move_image(image, motion)
        image = _hinder(key, image, options)
        image = augment_points.light_and_noise(light_key, image, **light)
        points, visible = augment_points.move_points(points, visible, motion, swap, height, width)
        points = points + options.label_noise * jax.random.normal(label_key, points.shape)
        return image, points, visible

    keys = jax.random.split(key, batch["image"].shape[0])
    image, points, visible = jax.vmap(one)(keys, batch["image"], batch["points"], batch["visible"])
    return {**batch, "image": image, "points": points, "visible": visible}


def _hinder(key, image, options):
    """Behind the animal, before it, then all of it blurred; what is 0 costs nothing."""
    keys = [jax.random.fold_in(key, i) for i in range(3)]
    if options.wall > 0:
        image = hindrances.wall(keys[0], image, options.wall)
    if options.occlusion > 0:
        image = hindrances.occlusion(keys[1], image, options.occlusion)
    if options.blur > 0:
        image = hindrances.blur(keys[2], image, options.blur)
    return image


def _loss(model, options, params, extra, batch, key):
    del key
    located, updated = model.apply(
        {"params": params, **extra}, batch["image"], train=True, mutable=list(extra)
    )
    loss, pixels = _row_losses(options, located, batch)
    loss = losses.weighted_mean(loss, batch["visible"])
    seen = batch["visible"].sum()
    sums = {
        "loss": (loss, jnp.ones(())),
        "pixel_error": ((pixels * batch["visible"]).sum(), seen),
    }
    return loss, ({**extra, **updated}, sums)


def _row_losses(options, located, batch):
    """Loss and distance in pixels of every point, [B, K] each, visible or not."""
    offsets = located.points - batch["points"]
    pixels = jnp.sqrt((offsets**2).sum(-1) + 1e-6)
    if located.heatmaps is None:
        # The spread learns from the errors (a Laplace distribution), the errors not from it.
        spread = jax.lax.stop_gradient(pixels) / located.spread + jnp.log(located.spread)
        return pixels + spread, pixels
    height, width = located.heatmaps.shape[1:3]
    target = models.gaussian_targets(batch["points"], height, width, options.sigma)
    entropy = -(target * jnp.log(located.heatmaps + 1e-9)).sum((1, 2))  # [B, K]
    return pixels + options.heatmap * entropy, pixels


def _metrics(model, options, measure, variables, batch, key):
    """What the report measures of the outputs, and the loss, whose heatmaps are no output."""
    del key
    located = model.apply(variables, batch["image"], train=False)
    measured = measure(_outputs(located), batch)
    loss, _ = _row_losses(options, located, batch)
    weights = batch["visible"] * batch["valid"][:, None]
    sums = {"loss": (loss * weights).sum(), "loss_weight": weights.sum()}
    return Measured({**measured.sums, **sums}, measured.rows)
