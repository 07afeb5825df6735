"""Binary segmentation: building footprints from aerial photos.

Batches hold 'image', uint8 [B, S, S, 3], and 'mask', uint8 [B, S, S]: 1 building, 0 not, and 255
where a tile reaches beyond its image, which counts nowhere.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxvision import losses
from jaxvision.errors import UserError
from jaxvision.input_pipeline.augment import photos as augment
from jaxvision.models import encoder_options
from jaxvision.models.unet import UNet
from jaxvision.task import Measured, Task
from jaxvision.tasks.segmentation import metrics
from jaxvision.tasks.segmentation import write as segment_image
from jaxvision.visualize import grid

LOSSES = ("bce_dice", "bce", "focal_tversky")
IGNORE = 255
# Width of the band that boundary IoU compares, pixels. The paper's 2 % of the diagonal would be a
# house at a metre a pixel.
BOUNDARY_RADIUS = 2


def make(config: ConfigDict, info: dict[str, Any]) -> Task:
    """The task of a config; `info` is not needed.

    Raises:
      UserError: unknown loss, encoder or layer, a crop larger than a tile.
    """
    if config.loss.name not in LOSSES:
        raise UserError(f"loss.name={config.loss.name!r} is unknown: use one of {LOSSES}")
    dtype = jnp.dtype(config.train.dtype)
    encoder = encoder_options.make(config, dtype=dtype)
    model = UNet(encoder.model, widths=tuple(config.model.decoder_widths), dtype=dtype)
    probability = functools.partial(_probability, model)
    return Task(
        init=lambda key, batch: model.init(key, batch["image"], train=False),
        load_weights=functools.partial(encoder_options.load_weights, encoder),
        augment=functools.partial(_augment, config),
        loss=functools.partial(_loss, model, config.loss),
        metrics=functools.partial(_metrics, probability),
        fit=lambda measured: {"threshold": metrics.best_threshold(measured.sums)},
        summarize=_summarize,
        draw=functools.partial(_draw, jax.jit(probability)),
        predict=probability,
        decode=_decode,
        predict_file=functools.partial(_predict_file, config.predict),
        trainable=functools.partial(encoder_options.trainable, encoder),
        highlights=lambda measured, fitted: {"worst": np.argsort(measured.rows["iou"])},
    )


def _probability(model, variables, images):
    """Probability of building, float32 [B, H, W]."""
    return jax.nn.sigmoid(model.apply(variables, images, train=False))


def _augment(config, key, batch):
    options, tile = config.augment, batch["image"].shape[1]
    crop = config.data.crop_size or tile
    if crop > tile:
        raise UserError(f"data.crop_size={crop} is larger than the tiles of {tile} pixels")

    def one(key, image, mask):
        window_key, colour_key = jax.random.split(key)
        image, mask = augment.crop_zoom_flip(
            window_key, image, mask, crop, options.zoom, options.flip, options.rotate90
        )
        return augment.colour_jitter(
            colour_key, image, options.brightness, options.contrast, options.saturation
        ), mask

    keys = jax.random.split(key, batch["image"].shape[0])
    image, mask = jax.vmap(one)(keys, batch["image"], batch["mask"])
    return {**batch, "image": image, "mask": mask}


def _labels(mask):
    """Labels and weights, float32 in {0, 1}, of a mask with IGNORE in it."""
    weights = (mask != IGNORE).astype(jnp.float32)
    return (mask == 1).astype(jnp.float32), weights


def _loss(model, options, params, extra, batch, key):
    logits, updated = model.apply(
        {"params": params, **extra},
        batch["image"],
        train=True,
        mutable=list(extra),
        rngs={"dropout": key},
    )
    labels, weights = _labels(batch["mask"])
    cross_entropy = losses.binary_cross_entropy(logits, labels, weights)
    dice = losses.soft_dice(logits, labels, weights)
    if options.name == "focal_tversky":
        alpha, gamma = options.tversky_alpha, options.tversky_gamma
        loss = losses.focal_tversky(logits, labels, weights, alpha, gamma)
    else:
        loss = cross_entropy + (dice if options.name == "bce_dice" else 0.0)
    one = jnp.ones(())
    sums = {"loss": (loss, one), "cross_entropy": (cross_entropy, one), "dice_loss": (dice, one)}
    return loss, ({**extra, **updated}, sums)


def _metrics(probability_of, variables, batch, key):
    probability = probability_of(variables, batch["image"])
    labels, weights = _labels(batch["mask"])
    weights = weights * batch["valid"][:, None, None]
    clipped = jnp.clip(probability, 1e-7, 1 - 1e-7)
    entropy = -(labels * jnp.log(clipped) + (1 - labels) * jnp.log1p(-clipped))
    sums = metrics.segmentation_sums(probability, labels, weights, BOUNDARY_RADIUS)
    return Measured(
        {**sums, "cross_entropy": (entropy * weights).sum()},
        {"iou": _image_iou(probability >= 0.5, labels, weights)},
    )


def _image_iou(predicted, labels, weights):
    """IoU of each image, float32 [B]; 1 where there is nothing to find and nothing was found."""
    both = (predicted * labels * weights).sum((1, 2))
    either = (jnp.maximum(predicted, labels) * weights).sum((1, 2))
    return jnp.where(either > 0, both / jnp.maximum(either, 1), 1.0)


def _summarize(measured, fitted):
    """At the threshold that validation chose, and (`_at_0.5`) at one half."""
    sums = measured.sums
    threshold = fitted.get("threshold", 0.5)
    chosen = metrics.segmentation_metrics(sums, threshold)
    half = metrics.segmentation_metrics(sums, 0.5)
    pixels = float(np.sum(sums["building"]) + np.sum(sums["background"]))
    return {
        **chosen,
        "threshold": threshold,
        "cross_entropy": float(sums["cross_entropy"]) / max(pixels, 1.0),
        **{f"{name}_at_0.5": value for name, value in half.items()},
    }


def _draw(probability_of, variables, batch, key, fitted):
    probability = np.asarray(probability_of(variables, batch["image"]))
    rows = []
    for image, mask, p in zip(batch["image"], batch["mask"], probability, strict=True):
        counts, truth = mask != IGNORE, mask == 1
        predicted = (p >= fitted.get("threshold", 0.5)) & counts
        overlay = grid.error_overlay(image, truth, predicted)
        rows.append([image, grid.mask_panel(truth), grid.mask_panel(p * counts), overlay])
    titles = ("photo", "truth", "probability", "found / false / missed")
    return {"predictions": grid.image_grid(rows, titles)}


def _decode(outputs, image, fitted):
    mask = outputs >= fitted.get("threshold", 0.5)
    return {"mask": mask, "probability": outputs, "building_share": float(mask.mean())}


def _predict_file(options, predict, path, output, fitted):
    return segment_image.segment_file(
        predict,
        path,
        output,
        threshold=fitted.get("threshold", 0.5),
        tile=options.tile,
        overlap=options.overlap,
        batch_size=options.batch_size,
        save_probability=options.probability,
        save_polygons=options.polygons,
        side_by_side=options.side_by_side,
        tolerance=options.tolerance,
        min_area=options.min_area,
    )
