"""The network of a classifier, its training and what is measured of it."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from jaxvision.errors import UserError
from jaxvision.input_pipeline.augment import classes as augment
from jaxvision.input_pipeline.augment import webcam
from jaxvision.models import attention, encoder_options, encoders
from jaxvision.models.classifier import Classifier
from jaxvision.task import Measured, Model
from jaxvision.tasks.classification import criterion, figures, metrics, report
from jaxvision.visualize.grad_cam import grad_cam


def make_model(config: ConfigDict, info: dict[str, Any]) -> Model:
    """The functions of a config's network.

    Raises:
      UserError: unknown loss, class weights, encoder, layer or attention, a crop that cannot work.
    """
    _check(config)
    encoder, network = make_network(config, len(info["classes"]))
    weights = criterion.class_weights(config.loss.class_weights, info["train_counts"])
    crop, side = crop_size(config), config.data.image_size
    return Model(
        init=lambda key, batch: network.init(key, _middle(batch["image"], crop), train=False),
        load_weights=functools.partial(encoder_options.load_weights, encoder),
        augment=functools.partial(_augment, config.augment, crop),
        loss=functools.partial(_loss, network, config.loss, weights),
        metrics=functools.partial(
            _metrics, network, crop, config.eval.views, report.make_measure(config, info)
        ),
        predict=functools.partial(_predict, network, crop),
        input_shape=(side, side, info["channels"]),
        trainable=functools.partial(encoder_options.trainable, encoder),
    )


def make_network(config: ConfigDict, classes: int) -> tuple[encoder_options.Encoder, nn.Module]:
    """The encoder that a config describes, and the classifier on it."""
    options, dtype = config.model, jnp.dtype(config.train.dtype)
    fields = dict(
        num_classes=0,
        attention=tuple(options.attention),
        head_attention=options.head_attention,
        remat=options.remat,
        dtype=dtype,
    )
    if options.block_attention:
        fields["block_attention"] = options.block_attention
    if options.encoder.name.startswith("vgg") and options.block_attention:
        raise UserError("model.block_attention: VGG has no residual branch to put it on; use ''")
    if not options.head_attention:
        del fields["head_attention"]  # se_cnn brings its own
    encoder = encoder_options.make(config, encoders.CLASSIFIERS, **fields)
    network = Classifier(
        encoder.model,
        classes,
        hidden=tuple(options.hidden),
        dropout=options.dropout,
        gray_to_rgb=encoder.model.preprocessing != "centred",
        dtype=dtype,
    )
    return encoder, network


def crop_size(config: ConfigDict) -> int:
    """Side of what the network sees of an image, pixels."""
    return config.data.crop_size or config.data.image_size


def _check(config):
    model = config.model
    attention.check_kinds([*model.attention, model.block_attention, model.head_attention])


def _middle(images, crop):
    start = (images.shape[1] - crop) // 2
    return images[:, start : start + crop, start : start + crop]


def _predict(network, crop, variables, images):
    """{'logits': float32 [B, K]} of the middle of each image."""
    return {"logits": network.apply(variables, _middle(images, crop), train=False)}


def _augment(options, crop, key, batch):
    keys = jax.random.split(key, 2 + batch["image"].shape[0])

    def one(key, image):
        move_key, tone_key, erase_key = jax.random.split(key, 3)
        image = augment.affine(
            move_key, image, crop, options.rotate, options.zoom, options.shift, options.flip
        )
        image = augment.tone_jitter(
            tone_key, image, options.brightness, options.contrast, options.saturation
        )
        if options.webcam:
            own_key = jax.random.fold_in(key, 3)
            image = webcam.random_corruption(own_key, image, options.webcam)
        if options.erase:
            image = augment.random_erase(erase_key, image, options.erase)
        return image

    images = jax.vmap(one)(keys[2:], batch["image"])
    images, share = augment.mix(keys[0], images, options.mixup, options.cutmix)
    return {**batch, "image": images, "share": share}


def _loss(network, options, weights, params, extra, batch, key):
    logits, updated = network.apply(
        {"params": params, **extra},
        batch["image"],
        train=True,
        mutable=list(extra),
        rngs={"dropout": key},
    )
    label, share = batch["label"], batch["share"]
    rows = jnp.zeros(label.shape[0])
    for labels, part in ((label, share), (jnp.roll(label, -1), 1 - share)):
        rows += part * criterion.row_losses(options, weights, logits, labels)
    loss = rows.mean()
    correct = (logits.argmax(axis=1) == label).mean()
    one = jnp.ones(())
    sums = {"loss": (loss, one), "accuracy": (correct, one)}
    return loss, ({**extra, **updated}, sums)


def _metrics(network, crop, views, measure, variables, batch, key):
    del key
    images = batch["image"]
    measured = measure(_predict(network, crop, variables, images), batch)
    if not views:
        return measured
    mean = mean_of_views(network, crop, views, variables, images)
    return Measured(measured.sums, {**measured.rows, "views": mean})


def mean_of_views(network, crop, views, variables, images):
    """Log of the mean probability over several views of each image, float32 [B, K].

    Args:
      views: 'flip': the middle and its mirror image; 'ten_crop': the four corners and the middle,
        each with its mirror image.
    """
    last = images.shape[1] - crop
    corners = [(last // 2, last // 2)]
    if views == "ten_crop":
        corners += [(y, x) for y in (0, last) for x in (0, last)]
    crops = [images[:, y : y + crop, x : x + crop] for y, x in corners]
    crops += [c[:, :, ::-1] for c in crops]
    log_p = [jax.nn.log_softmax(network.apply(variables, c, train=False)) for c in crops]
    return jax.nn.logsumexp(jnp.stack(log_p), axis=0) - jnp.log(len(crops))


def make_draw(config: ConfigDict, info: dict[str, Any]):
    """`Report.draw`: a few pictures with truth, prediction and Grad-CAM."""
    _, network = make_network(config, len(info["classes"]))
    crop = crop_size(config)
    predict = jax.jit(functools.partial(_predict, network, crop))
    return functools.partial(_draw, predict, make_heat(network, crop), info["classes"])


def make_heat(network: nn.Module, crop: int):
    """(variables, images) -> Grad-CAM of the winning class, float32 [B, crop, crop]."""
    # Under remat a layer's map cannot be taken out; nothing is trained here.
    network = network.clone(encoder=network.encoder.clone(remat=False))
    return jax.jit(functools.partial(winning_heat, network, crop))


def winning_heat(network: Any, crop: int, variables: Any, images: Any):
    """Grad-CAM of each image's most likely class at the last map, float32 [B, crop, crop].

    `network` is a Classifier; its encoder must keep its maps (remat=False).
    """
    start = (images.shape[1] - crop) // 2
    images = jnp.asarray(images)[:, start : start + crop, start : start + crop]

    def score(images):
        return network.apply(variables, images, train=False).max(axis=1)

    return grad_cam(score, images, f"encoder/{network.encoder.cam_layer}")


def _draw(predict, heat_of, classes, variables, batch, key, fitted):
    logits = np.asarray(predict(variables, batch["image"])["logits"])
    p = metrics.probabilities(logits, fitted.get("temperature", 1.0))
    heat = np.asarray(heat_of(variables, batch["image"]))
    return {"predictions": figures.prediction_grid(batch, p, heat, classes)}
