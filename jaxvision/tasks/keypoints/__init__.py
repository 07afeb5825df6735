"""Named points of an animal, and which way it faces.

Batches hold 'image', uint8 [B, H, W, C]; 'points', float32 [B, K, 2], x and y in pixels, (0, 0) the
centre of the top left pixel; 'visible', float32 [B, K] in {0, 1}: what is 0 counts nowhere;
'scale', float32 [B], pixels of the file for one of the image; and 'blob', float32 [B, 4], the
animal's centroid and axis by image moments, for a baseline.
`info` is what `input_pipeline.readers.keypoints.make_info` makes.
"""

from typing import Any

from ml_collections import ConfigDict

from jaxvision.task import Predictor, Report, Task


def make(config: ConfigDict, info: dict[str, Any]) -> Task:
    """The task of a config and the data set's `info`.

    Raises:
      UserError: unknown model, heading points, smoothing or layout.
    """
    import jax
    import numpy as np

    from jaxvision.tasks.keypoints import figures, heading
    from jaxvision.tasks.keypoints.model import make_model

    report = make_report(config, info)
    model = make_model(config, info, report.measure)
    predict = jax.jit(model.predict)
    angles = heading.find_angles(tuple(info["keypoints"]), config.heading)

    def draw(variables, batch, key, fitted):
        del key, fitted
        points = np.asarray(predict(variables, batch["image"])["points"])
        return {"predictions": figures.predictions_figure(points, batch, angles)}

    return Task(model, report._replace(draw=draw), make_predictor(config, info))


def make_report(config: ConfigDict, info: dict[str, Any]) -> Report:
    """The report of a config; without flax."""
    from jaxvision.tasks.keypoints import report

    return report.make_report(config, info)


def make_predictor(config: ConfigDict, info: dict[str, Any]) -> Predictor:
    """The predictor of a config; without jax."""
    from jaxvision.tasks.keypoints import predictor

    return predictor.make_predictor(config, info)
