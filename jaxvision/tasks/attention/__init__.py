"""Recurrent attention: a classifier, or an autoencoder, that sees an image in a few glimpses.

Batches hold 'image', uint8 [B, H, W, C], 'index', int32 [B], the rows' numbers in their split, and,
where there are labels, 'label', int32 [B].

One hybrid loss. The head and, through it, the core and the glimpse network learn by
backpropagation; the location network by REINFORCE alone; the baseline by its squared error.
"""

from typing import Any

from ml_collections import ConfigDict

from jaxvision.task import Predictor, Report, Task

# Imports inside the functions: an exported model is used without flax, or without jax at all.


def make(config: ConfigDict, info: dict[str, Any]) -> Task:
    """The task of a config.

    Args:
      info: 'shape' (H, W, C) of the images and 'classes', their names.

    Raises:
      UserError: a name is unknown or a number cannot be; a classifier for images without labels.
    """
    from jaxvision.tasks.attention.model import make_draw, make_model

    model = make_model(config, info)
    report = make_report(config, info)._replace(draw=make_draw(config, info))
    return Task(model, report, make_predictor(config, info))


def make_report(config: ConfigDict, info: dict[str, Any]) -> Report:
    """Metrics and figures of a split."""
    from jaxvision.tasks.attention import report

    return report.make_report(config, info)


def make_predictor(config: ConfigDict, info: dict[str, Any]) -> Predictor:
    """Glimpses at a picture, and its label or reconstruction.

    Raises:
      UserError: a field of config.predict that cannot be.
    """
    from jaxvision.tasks.attention import predictor

    return predictor.make_predictor(config, info)
