"""The scorer in training: photos or features of photos to scores, losses, and where it looks."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxvision import losses
from jaxvision.errors import UserError
from jaxvision.input_pipeline import score_scale
from jaxvision.input_pipeline.augment import photos as augment
from jaxvision.input_pipeline.score_scale import Scale
from jaxvision.models import encoder_options
from jaxvision.models.perception import Head, Scorer
from jaxvision.task import Model
from jaxvision.tasks.perception import report
from jaxvision.tasks.perception.criterion import score_errors, targets
from jaxvision.tasks.perception.draw import draw
from jaxvision.visualize import grad_cam

STRIDE = 32  # of the encoders' last features


class Parts(NamedTuple):
    """What every function of the task needs: config, model, and the scale of the scores."""

    config: ConfigDict
    model: Scorer
    encoder: encoder_options.Encoder
    scale: Scale


def make(config: ConfigDict, info: dict[str, Any]) -> tuple[Model, Callable]:
    """The model of a config, and `Report.draw`, which needs more of it than `predict`.

    Raises:
      UserError: unknown loss, encoder or layer; options that contradict each other.
    """
    dtype = jnp.dtype(config.train.dtype)
    encoder = encoder_options.make(config, dtype=dtype)
    _check(config, encoder)
    scale = score_scale.from_info(info)
    ordinal, gaussian = (config.loss.name == name for name in ("ordinal", "gaussian"))
    heads = [
        Head(
            attributes=len(scale.attributes),
            hidden=tuple(config.model.hidden),
            dropout=config.model.dropout,
            spread=gaussian,
            bn_momentum=config.model.encoder.bn_momentum,
            dtype=dtype,
        )
        for _ in range(config.model.heads)
    ]
    scorer = Scorer(encoder.model, heads, thresholds=ordinal, votes=config.loss.votes > 0)
    parts = Parts(config, scorer, encoder, scale)
    predict, attend = (functools.partial(f, parts) for f in (_predict, _attend))
    model = Model(
        init=functools.partial(_init, parts),
        load_weights=functools.partial(encoder_options.load_weights, encoder),
        augment=functools.partial(_augment, config),
        loss=functools.partial(_loss, parts),
        metrics=functools.partial(_metrics, parts),
        predict=predict,
        input_shape=(info["image_size"], info["image_size"], 3),
        trainable=functools.partial(encoder_options.trainable, encoder),
        condense=functools.partial(_condense, parts) if config.data.cached_views else None,
    )
    return model, functools.partial(draw, scale, jax.jit(predict), jax.jit(attend))


def _check(config, encoder):
    views = config.data.cached_views
    if views and not set(encoder.model.layer_order()) <= set(encoder.frozen):
        raise UserError(
            f"data.cached_views={views} needs an encoder that is frozen as a whole "
            "(model.encoder.freeze=True with weights, unfreeze_from=''), or set it to 0"
        )


def _init(parts, key, batch):
    images = _views(parts.config, _flat(batch["image"], 4), 1)[:, 0]
    return parts.model.init(key, images, train=False)


def _flat(array, axes):
    """Joins the axes before the last `axes - 1`: the two photos of a pair beside the batch."""
    return array.reshape(-1, *array.shape[array.ndim - axes + 1 :])


def crop_size(config: ConfigDict, size: int) -> int:
    """What the network sees of a photo of `size` pixels.

    Raises:
      UserError: it is larger than the photo, or too small for the encoders' five halvings.
    """
    crop = config.data.crop_size or round(size * 7 / 8)
    if crop > size:
        raise UserError(f"data.crop_size={crop} is larger than the photos of {size} pixels")
    if crop < STRIDE:
        raise UserError(f"a crop of {crop} pixels is less than {STRIDE}: raise data.image_size")
    return crop


def _views(config, images, count):
    """The first `count` of `augment.fixed_views`: [B, count, c, c, 3]."""
    return augment.fixed_views(images, crop_size(config, images.shape[1]), count)


def _condense(parts, variables, batch):
    """Features of the views of each photo in place of the photo: the encoder is frozen."""
    batch, image = dict(batch), batch["image"]
    views = parts.config.data.cached_views
    crops = _views(parts.config, _flat(image, 4), views)  # [B, V, c, c, 3]
    features = parts.model.apply(variables, _flat(crops, 4), train=False, method="features")
    del batch["image"]
    return {**batch, "features": features.reshape(*image.shape[:-3], views, features.shape[-1])}


def _augment(config, key, batch):
    if "features" in batch:
        features = batch["features"]  # [B, V, C] or [B, 2, V, C]
        flat = _flat(features, 3)
        view = jax.random.randint(key, (len(flat), 1, 1), 0, flat.shape[1])
        chosen = jnp.take_along_axis(flat, view, axis=1)  # [B, 1, C]
        return {**batch, "features": chosen.reshape(*features.shape[:-2], 1, -1)}
    images, options = _flat(batch["image"], 4), config.augment
    crop = crop_size(config, images.shape[1])

    def one(key, image):
        window_key, colour_key = jax.random.split(key)
        image = augment.crop_mirror(window_key, image, crop)
        return augment.colour_jitter(
            colour_key, image, options.brightness, options.contrast, options.saturation
        )

    images = jax.vmap(one)(jax.random.split(key, len(images)), images)
    return {**batch, "image": images.reshape(*batch["image"].shape[:-3], crop, crop, 3)}


def _loss(parts, params, extra, batch, key):
    model, options = parts.model, parts.config.loss
    variables = {"params": params, **extra}
    cached = "features" in batch
    inputs = _flat(batch["features"][..., 0, :], 2) if cached else _flat(batch["image"], 4)
    outputs, updated = model.apply(
        variables,
        inputs,
        train=True,
        method="score_features" if cached else "__call__",
        mutable=[name for name in variables if name != "params"],
        rngs={"dropout": key},
    )  # {name: [M, B, A]}
    score = batch["score"].reshape(-1, len(parts.scale.attributes))
    loss, sums = 0.0, {}
    if options.scores:
        errors, known = _score_errors(parts, variables, outputs, score)
        loss = options.scores * losses.weighted_mean(errors, known)
        sums["score_loss"] = ((errors * known).sum(), known.sum())
    if options.votes:
        slope, log_tie = model.apply(variables, method="vote_scale")
        value = outputs["value"]
        value = value.reshape(len(value), -1, 2, score.shape[-1])  # [M, B, 2, A]
        difference = slope * (value[:, :, 0] - value[:, :, 1])
        surprise = losses.paired_comparison(difference, log_tie, batch["votes"]).mean(0).sum()
        votes = jnp.maximum(batch["votes"].sum(), 1.0)
        loss += options.votes * surprise / votes
        sums["vote_loss"] = (surprise, votes)
    return loss, ({**extra, **updated}, {"loss": (loss, jnp.ones(())), **sums})


def _score_errors(parts, variables, outputs, score):
    """The heads' mean loss of each score and whether it is known, float32 [B, A] each."""
    target, known = targets(parts.scale, score)
    name, thresholds = parts.config.loss.name, None
    if name == "ordinal":
        thresholds = parts.model.apply(variables, method="decile_thresholds")
    errors = jax.vmap(lambda one: score_errors(name, parts.scale, one, thresholds, target))(outputs)
    return errors.mean(0), known.astype(jnp.float32)


def _outputs(parts, variables, batch):
    """What the network says of photos or their features: {name: float32 [B, A, ...]}.

    'score' and 'spread', its standard deviation, in units of the target, of the network alone
    (`calibration.calibrate` adds what validation does). With the ordinal loss, 'above' [B, A, 9]:
    P(decile > k). With votes, 'strength' and 'log_tie': what `losses.paired_comparison` takes.
    """
    if "features" in batch:
        features = batch["features"][:, 0]  # the centre
    else:
        images = _views(parts.config, batch["image"], 1)[:, 0]
        features = parts.model.apply(variables, images, train=False, method="features")
    heads = _judge(parts, variables, features)  # {name: [M, B, A, ...]}
    outputs = {name: array.mean(0) for name, array in heads.items()}
    # The variance of a mixture: within its members and between them.
    variance = heads["spread"] ** 2 + (heads["score"] - outputs["score"]) ** 2
    return {**outputs, "spread": jnp.sqrt(variance.mean(0))}


def _judge(parts, variables, features):
    """As `_outputs`, by every head, from features [B, C]: {name: float32 [M, B, A, ...]}."""
    scale, model = parts.scale, parts.model
    outputs = model.apply(variables, features, train=False, method="score_features")
    value, votes = outputs["value"], {}
    if parts.config.loss.votes:
        slope, log_tie = model.apply(variables, method="vote_scale")
        votes = {"strength": slope * value, "log_tie": jnp.broadcast_to(log_tie, value.shape)}
    if parts.config.loss.name == "ordinal" and parts.config.loss.scores:
        above = jax.nn.sigmoid(
            value[..., None] - model.apply(variables, method="decile_thresholds")
        )
        score = 1 + above.sum(-1)
        # E[rank^2] of 1 + the number of thresholds passed, P(rank > k) being `above`.
        square = 1 + ((2 * jnp.arange(1, above.shape[-1] + 1) + 1) * above).sum(-1)
        spread = jnp.sqrt(jnp.maximum(square - score**2, 1e-4))
        return {"score": score, "spread": spread, "above": above, **votes}
    spread = jnp.exp(outputs["log_spread"]) if "log_spread" in outputs else jnp.ones_like(value)
    return {"score": scale.mean + scale.std * value, "spread": scale.std * spread, **votes}


def _metrics(parts, variables, batch, key):
    del key  # nothing is drawn
    return report.measure(parts.config.loss, parts.scale, _outputs(parts, variables, batch), batch)


def _predict(parts, variables, images):
    return _outputs(parts, variables, {"image": images})


def _attend(parts, variables, images, attribute):
    """Where the network looks for an attribute: Grad-CAM of its value, float32 [B, c, c]."""
    crops = _views(parts.config, images, 1)[:, 0]

    def value(crops):
        outputs = parts.model.apply(variables, crops.astype(jnp.float32), train=False)
        return outputs["value"].mean(0)[:, attribute]

    return grad_cam.grad_cam(value, crops, "last_pool")
