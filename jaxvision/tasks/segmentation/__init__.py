"""Segmentation of aerial photos: building footprints, or several classes of masks.

Batches hold 'image', uint8 [B, S, S, 3], and 'mask', uint8 [B, S, S]: 1 building, 0 not; or the
numbers of classes, where the data's `info` has their names under 'classes'. 255 is where a tile
reaches beyond its image and where nobody knows, which counts nowhere. `model.make`, `labels` and
the two functions below are where the two part ways.
"""

import functools
from typing import Any

from ml_collections import ConfigDict

from jaxvision.task import Predictor, Report, Task


def make(config: ConfigDict, info: dict[str, Any]) -> Task:
    """The task of a config; `info` holds the names of classes, where there are several.

    Raises:
      UserError: unknown loss, encoder or layer; `predict` options that cannot work.
    """
    import jax

    from jaxvision.tasks.segmentation import class_report, model, report

    classes = info.get("classes", ())
    judge = make_report(config, info)
    unet = model.make(config, classes, judge.measure)
    predict = jax.jit(unet.predict)
    draw = functools.partial(report.draw, predict)
    if classes:
        palette = make_labels(info).palette
        draw = functools.partial(class_report.draw, predict, palette, classes)
    return Task(unet, judge._replace(draw=draw), make_predictor(config, info))


def make_report(config: ConfigDict, info: dict[str, Any]) -> Report:
    """Metrics and figures; flax is not imported.

    Raises:
      UserError: unknown loss.
    """
    from jaxvision.tasks.segmentation import class_report, report

    if "classes" in info:
        return class_report.make(config, info["classes"])
    return report.make(config)


def make_predictor(config: ConfigDict, info: dict[str, Any]) -> Predictor:
    """Pictures of any size to masks and footprints; jax is not imported.

    Raises:
      UserError: `predict` options that cannot work, or packages that they need are missing.
    """
    from jaxvision.tasks.segmentation import predictor

    return predictor.make(config.predict, config.data.range, make_labels(info))


def make_labels(info: dict[str, Any]) -> Any:
    """What a pixel may be: `labels.Labels`."""
    from jaxvision.tasks.segmentation import labels

    if "classes" in info:
        return labels.of_classes(info["classes"], info.get("class_colors", ()))
    return labels.BUILDING
