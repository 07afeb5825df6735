"""The U-Net in training: initialisation, augmentation, loss, and probabilities."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxvision.errors import UserError
from jaxvision.input_pipeline.augment import photos as augment
from jaxvision.models import encoder_options
from jaxvision.models.unet import STRIDE, UNet
from jaxvision.task import Measured, Model
from jaxvision.tasks.segmentation import class_criterion, criterion


def make(config: ConfigDict, classes: Sequence[str], measure: Callable[..., Measured]) -> Model:
    """The model of a config.

    Args:
      classes: of the masks; (): building or not.
      measure: of the report.

    Raises:
      UserError: unknown loss, encoder or layer.
    """
    dtype = jnp.dtype(config.train.dtype)
    encoder = encoder_options.make(config, dtype=dtype)
    widths = tuple(config.model.decoder_widths)
    unet = UNet(encoder.model, widths=widths, classes=len(classes), dtype=dtype)
    judged = class_criterion if classes else criterion
    predict = functools.partial(_predict, unet, judged)
    return Model(
        init=lambda key, batch: unet.init(key, batch["image"], train=False),
        load_weights=functools.partial(encoder_options.load_weights, encoder),
        augment=functools.partial(_augment, config),
        loss=functools.partial(_loss, unet, judged, config.loss),
        metrics=functools.partial(_metrics, predict, measure),
        predict=predict,
        input_shape=(f"{STRIDE}*h", f"{STRIDE}*w", 3),
        trainable=functools.partial(encoder_options.trainable, encoder),
    )


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


def _loss(unet, judged, options, params, extra, batch, key):
    logits, updated = unet.apply(
        {"params": params, **extra},
        batch["image"],
        train=True,
        mutable=list(extra),
        rngs={"dropout": key},
    )
    labels, weights = judged.labels_and_weights(batch["mask"])
    loss, parts = judged.criterion(options, logits, labels, weights)
    sums = {name: (value, jnp.ones(())) for name, value in {"loss": loss, **parts}.items()}
    return loss, ({**extra, **updated}, sums)


def _predict(unet, judged, variables, images):
    """{'probability': of building, float32 [B, H, W]}, or of classes what their criterion gives."""
    return judged.outputs(unet.apply(variables, images, train=False))


def _metrics(predict, measure, variables, batch, key):
    del key  # nothing is drawn
    return measure(predict(variables, batch["image"]), batch)
