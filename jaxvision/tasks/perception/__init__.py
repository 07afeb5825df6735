"""Perception scores of street photos: regression, deciles, or votes between pairs of photos.

Batches hold 'image', uint8 [B, S, S, 3], and 'score', float32 [B, A], as the user gave it with NaN
where it is missing; in training on votes, 'image' [B, 2, S, S, 3], 'score' [B, 2, A] and 'votes'
[B, A, 3]: how often the first photo, the second and neither was chosen. After `condense`,
'features' [B, views, C] (or [B, 2, views, C]) stand in for 'image'.
"""

from typing import Any

from ml_collections import ConfigDict

from jaxvision.task import Predictor, Report, Task


def make(config: ConfigDict, info: dict[str, Any]) -> Task:
    """The task of a config, for the attributes and the scale that `info` holds.

    Raises:
      UserError: unknown loss, encoder or layer; options that contradict each other.
    """
    from jaxvision.tasks.perception import model

    scorer, draw = model.make(config, info)
    report = make_report(config, info)._replace(draw=draw)
    return Task(scorer, report, make_predictor(config, info))


def make_report(config: ConfigDict, info: dict[str, Any]) -> Report:
    """Metrics and figures; flax is not imported."""
    from jaxvision.tasks.perception import report

    return report.make(config, info)


def make_predictor(config: ConfigDict, info: dict[str, Any]) -> Predictor:
    """Photos of any size to scores with their uncertainty; jax is not imported.

    Raises:
      UserError: `predict` options that cannot work.
    """
    from jaxvision.tasks.perception import predictor

    return predictor.make(config.predict, info)
