"""Classification of images: facial expressions, kinds of places, anything in class folders.

Batches hold 'image', uint8 [B, S, S, C], gray or RGB, and 'label', int32 [B]. Augmentation adds
'share', float32 [B]: the part of each picture that has its own label; the rest has the next one's.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from jaxvision import losses
from jaxvision.errors import UserError
from jaxvision.input_pipeline import images
from jaxvision.input_pipeline.augment import classes as augment
from jaxvision.input_pipeline.dataset import Dataset, Split, fingerprint
from jaxvision.models import attention, encoder_options, encoders
from jaxvision.models.classifier import Classifier
from jaxvision.task import Measured, Task
from jaxvision.tasks.classification import figures as class_figures
from jaxvision.tasks.classification import metrics
from jaxvision.tasks.classification import write as classify_file

LOSSES = ("cross_entropy", "focal")
CLASS_WEIGHTS = ("none", "balanced", "sqrt")
VIEWS = ("", "flip", "ten_crop")


def make(config: ConfigDict, info: dict[str, Any]) -> Task:
    """The task of a config; `info` holds the data's class names and how often train has each.

    Raises:
      UserError: unknown loss, class weights, encoder, layer or attention, a crop that cannot work.
    """
    _check(config)
    classes = info["classes"]
    encoder, model = make_model(config, len(classes))
    weights = class_weights(config.loss.class_weights, info["train_counts"])
    crop = config.data.crop_size or config.data.image_size
    logits = functools.partial(_logits, model, crop)
    majority = int(np.argmax(info["train_counts"]))
    return Task(
        init=lambda key, batch: model.init(key, _middle(batch["image"], crop), train=False),
        load_weights=functools.partial(encoder_options.load_weights, encoder),
        augment=functools.partial(_augment, config.augment, crop),
        loss=functools.partial(_loss, model, config.loss, weights),
        metrics=functools.partial(_metrics, model, crop, config.eval.views),
        fit=lambda measured: {
            "temperature": metrics.fit_temperature(measured.rows["logits"], measured.rows["label"])
        },
        summarize=functools.partial(_summarize, majority),
        draw=functools.partial(_draw, jax.jit(logits), _heat(model, crop), classes),
        predict=logits,
        decode=functools.partial(_decode, classes),
        predict_file=functools.partial(
            classify_file.classify_file, config, functools.partial(_decode, classes)
        ),
        collect=classify_file.collect,
        trainable=functools.partial(encoder_options.trainable, encoder),
        plots=functools.partial(class_figures.split_figures, classes),
        tables=functools.partial(_tables, classes),
        adapt=functools.partial(_adapt, classes, info["channels"]),
        highlights=_highlights,
        extensions=(*images.EXTENSIONS, *classify_file.VIDEOS),
    )


def make_model(config: ConfigDict, classes: int) -> tuple[encoder_options.Encoder, nn.Module]:
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
    model = Classifier(
        encoder.model,
        classes,
        hidden=tuple(options.hidden),
        dropout=options.dropout,
        gray_to_rgb=encoder.model.preprocessing != "centred",
        dtype=dtype,
    )
    return encoder, model


def class_weights(kind: str, counts: list[int]) -> np.ndarray:
    """The weight of each class in the loss, float32 [K], 1 in the mean over the training rows.

    'balanced': inverse to how often train has the class; 'sqrt': to its square root; 'none': 1.
    """
    power = {"none": 0.0, "sqrt": 0.5, "balanced": 1.0}[kind]
    counts = np.maximum(np.asarray(counts, np.float64), 1.0)
    weights = counts**-power
    return (weights * counts.sum() / (weights @ counts)).astype(np.float32)


def _check(config):
    loss, views, data = config.loss, config.eval.views, config.data
    if loss.name not in LOSSES:
        raise UserError(f"loss.name={loss.name!r} is unknown: use one of {', '.join(LOSSES)}")
    if loss.class_weights not in CLASS_WEIGHTS:
        known = ", ".join(CLASS_WEIGHTS)
        raise UserError(f"loss.class_weights={loss.class_weights!r} is unknown: use {known}")
    if views not in VIEWS:
        raise UserError(f"eval.views={views!r} is unknown: use flip, ten_crop or ''")
    if not 0 <= data.crop_size <= data.image_size:
        raise UserError(
            f"data.crop_size={data.crop_size} is not from 0 to data.image_size={data.image_size}"
        )
    if views == "ten_crop" and data.crop_size in (0, data.image_size):
        raise UserError(
            "eval.views='ten_crop' needs crops smaller than the images: set data.crop_size"
        )
    model = config.model
    attention.check_kinds([*model.attention, model.block_attention, model.head_attention])


def _middle(images, crop):
    start = (images.shape[1] - crop) // 2
    return images[:, start : start + crop, start : start + crop]


def _logits(model, crop, variables, images):
    """Logits float32 [B, K] of the middle of each image."""
    return model.apply(variables, _middle(images, crop), train=False)


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
        if options.erase:
            image = augment.random_erase(erase_key, image, options.erase)
        return image

    images = jax.vmap(one)(keys[2:], batch["image"])
    images, share = augment.mix(keys[0], images, options.mixup, options.cutmix)
    return {**batch, "image": images, "share": share}


def _loss(model, options, weights, params, extra, batch, key):
    logits, updated = model.apply(
        {"params": params, **extra},
        batch["image"],
        train=True,
        mutable=list(extra),
        rngs={"dropout": key},
    )
    gamma = options.focal_gamma if options.name == "focal" else 0.0
    weights = jnp.asarray(weights)
    label, share = batch["label"], batch["share"]
    rows = jnp.zeros(len(label))
    for labels, part in ((label, share), (jnp.roll(label, -1), 1 - share)):
        entropy = losses.class_cross_entropy(logits, labels, options.label_smoothing, gamma)
        rows += part * weights[labels] * entropy
    loss = rows.mean()
    correct = (logits.argmax(axis=1) == label).mean()
    one = jnp.ones(())
    sums = {"loss": (loss, one), "accuracy": (correct, one)}
    return loss, ({**extra, **updated}, sums)


def _metrics(model, crop, views, variables, batch, key):
    images = batch["image"]
    rows = {"logits": _logits(model, crop, variables, images), "label": batch["label"]}
    if views:
        rows["views"] = mean_of_views(model, crop, views, variables, images)
    return Measured({}, rows)


def mean_of_views(model, crop, views, variables, images):
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
    log_p = [jax.nn.log_softmax(model.apply(variables, c, train=False)) for c in crops]
    return jax.nn.logsumexp(jnp.stack(log_p), axis=0) - jnp.log(len(crops))


def _summarize(majority, measured, fitted):
    """Of the middle crop as it is; `_calibrated` at the temperature validation chose; `_views`."""
    rows = measured.rows
    logits, labels = np.asarray(rows["logits"]), np.asarray(rows["label"])
    classes, temperature = logits.shape[1], fitted.get("temperature", 1.0)
    values = metrics.averages(metrics.confusion(labels, logits.argmax(axis=1), classes))
    if classes > 5:
        values["top5_accuracy"] = metrics.top_k_accuracy(logits, labels, 5)
    values |= metrics.one_vs_rest(metrics.probabilities(logits), labels)
    for suffix, divisor in (("", 1.0), ("_calibrated", temperature)):
        p = metrics.probabilities(logits, divisor)
        correct = p.argmax(axis=1) == labels
        values[f"nll{suffix}"] = metrics.nll(logits, labels, divisor)
        values[f"ece{suffix}"] = metrics.expected_calibration_error(p.max(axis=1), correct)
    values["temperature"] = temperature
    values["majority_accuracy"] = float(np.mean(labels == majority))
    if "views" in rows:
        views = np.asarray(rows["views"])
        found = metrics.averages(metrics.confusion(labels, views.argmax(axis=1), classes))
        values |= {f"{name}_views": found[name] for name in ("accuracy", "macro_f1")}
        values["nll_views"] = metrics.nll(views, labels)
    return values


def _tables(classes, measured, fitted):
    logits, labels = (np.asarray(measured.rows[name]) for name in ("logits", "label"))
    counts = metrics.confusion(labels, logits.argmax(axis=1), len(classes))
    found = {name: column.tolist() for name, column in metrics.per_class(counts).items()}
    p = metrics.probabilities(logits)
    for name in ("roc_auc", "average_precision"):
        curve = getattr(metrics, name)
        column = [curve(p[:, k], labels == k) for k in range(len(classes))]
        found[name] = [value if np.isfinite(value) else None for value in column]
    return {
        "classes": [
            {"class": name, **{key: column[k] for key, column in found.items()}}
            for k, name in enumerate(classes)
        ],
        "confusion": [
            {"truth": name, **dict(zip(classes, row, strict=True))}
            for name, row in zip(classes, counts.tolist(), strict=True)
        ],
    }


def _highlights(measured, fitted):
    """Wrong rows, the surest first."""
    logits, labels = (np.asarray(measured.rows[name]) for name in ("logits", "label"))
    p = metrics.probabilities(logits)
    wrong = np.flatnonzero(p.argmax(axis=1) != labels)
    if not len(wrong):
        return {}
    return {"confident_mistakes": wrong[np.argsort(-p[wrong].max(axis=1), kind="stable")]}


def _heat(model, crop):
    """(variables, images) -> Grad-CAM of the winning class, float32 [B, crop, crop]."""
    # Under remat a layer's map cannot be taken out; nothing is trained here.
    model = model.clone(encoder=model.encoder.clone(remat=False))
    return jax.jit(functools.partial(class_figures.winning_heat, model, crop))


def _draw(logits_of, heat_of, classes, variables, batch, key, fitted):
    p = metrics.probabilities(
        np.asarray(logits_of(variables, batch["image"])), fitted.get("temperature", 1.0)
    )
    heat = np.asarray(heat_of(variables, batch["image"]))
    return {"predictions": class_figures.prediction_grid(batch, p, heat, classes)}


def _decode(classes, outputs, image, fitted):
    """The label and every class's probability, at the temperature that validation chose."""
    p = metrics.probabilities(np.asarray(outputs)[None], fitted.get("temperature", 1.0))[0]
    named = {name: round(float(value), 6) for name, value in zip(classes, p, strict=True)}
    return {"label": classes[int(p.argmax())], "probabilities": named}


class _Relabelled(NamedTuple):
    """Reads rows with their labels in another order; picklable."""

    read: Any
    numbers: tuple[int, ...]

    def __call__(self, row: int) -> dict[str, np.ndarray]:
        example = self.read(row)
        return {**example, "label": np.asarray(self.numbers[example["label"]], np.int32)}


def _adapt(classes, channels, dataset: Dataset) -> Dataset:
    """Other data for a trained model: the same classes, or some of them, in the model's order."""
    theirs = dataset.info["classes"]
    unknown = [name for name in theirs if name not in classes]
    if unknown:
        raise UserError(
            f"{dataset.source} has class {', '.join(unknown)}, which the model does not know; it "
            f"knows {', '.join(classes)}"
        )
    if dataset.info["channels"] != channels:
        raise UserError(f"the model was trained on {channels} channels: set data.channels to that")
    if theirs == classes:
        return dataset
    numbers = tuple(classes.index(name) for name in theirs)
    splits = {
        name: Split(split.names, _Relabelled(split.read, numbers), split.examples, split.weights)
        for name, split in dataset.splits.items()
    }
    key = fingerprint([dataset.fingerprint, *numbers])
    return dataset._replace(splits=splits, fingerprint=key)
