"""Classification of images: facial expressions, kinds of places, anything in class folders.

Batches hold 'image', uint8 [B, S, S, C], gray or RGB, and 'label', int32 [B]. Augmentation adds
'share', float32 [B]: the part of each picture that has its own label; the rest has the next one's.
"""

from typing import Any

from ml_collections import ConfigDict

from jaxvision.task import Predictor, Report, Task

# Imports inside the functions: an exported model is used without flax, or without jax at all.


def make(config: ConfigDict, info: dict[str, Any]) -> Task:
    """The task of a config; `info` holds the data's class names and how often train has each.

    Raises:
      UserError: unknown loss, class weights, encoder, layer or attention, a crop that cannot work.
    """
    from jaxvision.tasks.classification.model import make_draw, make_model

    predictor = make_predictor(config, info)
    model = make_model(config, info)
    report = make_report(config, info)._replace(draw=make_draw(config, info))
    return Task(model, report, predictor)


def make_report(config: ConfigDict, info: dict[str, Any]) -> Report:
    """Metrics, figures and tables of a split."""
    from jaxvision.tasks.classification import report

    return report.make_report(config, info)


def make_predictor(config: ConfigDict, info: dict[str, Any]) -> Predictor:
    """Labels of the faces in a picture, or of the whole.

    Raises:
      UserError: a field of config.predict that cannot be.
    """
    from jaxvision.tasks.classification import predictor

    return predictor.make_predictor(config, info)
