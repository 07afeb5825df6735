"""Binary segmentation: building footprints from aerial photos.

Batches hold 'image', uint8 [B, S, S, 3], and 'mask', uint8 [B, S, S]: 1 building, 0 not, and 255
where a tile reaches beyond its image, which counts nowhere.
"""

import functools
from typing import Any

from ml_collections import ConfigDict

from jaxvision.task import Predictor, Report, Task


def make(config: ConfigDict, info: dict[str, Any]) -> Task:
    """The task of a config; `info` is not needed.

    Raises:
      UserError: unknown loss, encoder or layer; `predict` options that cannot work.
    """
    import jax

    from jaxvision.tasks.segmentation import model, report

    unet = model.make(config)
    draw = functools.partial(report.draw, jax.jit(unet.predict))
    return Task(unet, make_report(config, info)._replace(draw=draw), make_predictor(config, info))


def make_report(config: ConfigDict, info: dict[str, Any]) -> Report:
    """Metrics and figures; flax is not imported.

    Raises:
      UserError: unknown loss.
    """
    from jaxvision.tasks.segmentation import report

    return report.make(config)


def make_predictor(config: ConfigDict, info: dict[str, Any]) -> Predictor:
    """Pictures of any size to masks and footprints; jax is not imported.

    Raises:
      UserError: `predict` options that cannot work, or packages that they need are missing.
    """
    from jaxvision.tasks.segmentation import predictor

    return predictor.make(config.predict, config.data.range)
