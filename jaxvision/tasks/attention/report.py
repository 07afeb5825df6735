"""What is reported of a split that was seen in glimpses: metrics and figures."""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxvision.errors import UserError
from jaxvision.input_pipeline.dataset import Dataset
from jaxvision.input_pipeline.relabel import match_classes
from jaxvision.task import Measured, Report
from jaxvision.tasks.attention import canvas, figures, metrics
from jaxvision.tasks.attention.pieces import with_pieces
from jaxvision.tasks.attention.shapes import make_retina


def make_report(config: ConfigDict, info: dict[str, Any]) -> Report:
    """The report of a config; `Report.draw` needs the network and is added by `make`."""
    classifier = config.model.head == "classifier"
    return Report(
        inputs=functools.partial(canvas.evaluation_images, config),
        measure=_make_measure(config),
        fit=lambda measured: {},
        metrics=metrics.summarize,
        headline=("error" if classifier else "psnr", "loss", "gain_over_random", "seen"),
        figures=functools.partial(_figures, config, info["classes"]),
        highlights=_highlights,
        adapt=functools.partial(_adapt, config.canvas, info["classes"], classifier),
    )


def _make_measure(config: ConfigDict) -> Callable[..., Measured]:
    """(outputs, batch) -> Measured: the rows of the model's own policy."""

    def measure(outputs, batch):
        pixels = canvas.evaluation_images(config, batch)
        if "probabilities" in outputs:
            logits = jnp.log(jnp.maximum(outputs["probabilities"], 1e-12))[None]
            judged = metrics.classifier_rows(logits, batch["label"])
        else:
            drawn = outputs["reconstructions"].swapaxes(0, 1)  # [T + 1, B, H, W, C]
            judged = metrics.decoder_rows(drawn[None], pixels)
            judged["loss"] = metrics.decoder_loss(drawn, pixels, config.loss.every_glimpse)
        rows = {name if name == "loss" else f"{name}/own": v for name, v in judged.items()}
        locations = outputs["locations"].swapaxes(0, 1)
        rows |= metrics.where_rows(locations, make_retina(config), *pixels.shape[1:3])
        if "label" in batch:
            rows["label"] = batch["label"]
        return Measured({}, rows)

    return measure


def _figures(config, classes, measured, fitted):
    rows = measured.rows
    # The first glimpse knows nothing yet: it would outshine what depends on the image.
    skipped = int(config.model.policy == "learned" and config.model.glimpses > 1)
    labels = rows.get("label", np.zeros(len(rows["locations"]), np.int32))
    maps = figures.heat_maps(rows["locations"][:, skipped:], labels, classes or ["all"])
    drawn = {"where_it_looks": maps}
    if "psnr/random" in rows:
        drawn["psnr_by_glimpse"] = figures.psnr_curves(metrics.psnr_by_glimpse(rows))
    return drawn


def _highlights(measured, fitted):
    worst = "nll/own" if "nll/own" in measured.rows else "mse/own"
    values = measured.rows[worst]
    return {"worst": np.argsort(-(values if values.ndim == 1 else values[:, -1]))}


def _adapt(canvas, classes, classifier, dataset: Dataset) -> Dataset:
    """Images with their clutter; of a classifier, with labels in the model's order."""
    if canvas.size and canvas.clutter:
        dataset = with_pieces(dataset, canvas.clutter, canvas.clutter_size)
    if dataset.info["classes"] and classes:
        return match_classes(dataset, classes)
    if classifier:
        raise UserError(
            f"{dataset.source} has no labels to judge a classifier by: sort the images by class"
        )
    return dataset
