"""How far located points and angles are from the truth: values a row, and their summaries.

Errors are Euclidean distances in pixels of the file, and degrees the short way around.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from jaxvision.tasks.keypoints import heading
from jaxvision.tasks.keypoints.heading import Angle

PCK = (1, 2, 3)  # pixels


def row_errors(points, batch, angles: Sequence[Angle]) -> dict:
    """Errors of each row.

    Args:
      points: float32 [B, K, 2], located.
      batch: with 'points', 'visible' and 'scale'.
      angles: A of them.

    Returns:
      'pixels' [B, K] and 'degrees' [B, A]; NaN where the truth is not known.
    """
    visible = batch["visible"]
    pixels = jnp.linalg.norm(points - batch["points"], axis=-1) * batch["scale"][:, None]
    turned = heading.difference(
        heading.angles_of(points, angles), heading.angles_of(batch["points"], angles)
    )
    known = heading.both_visible(visible, angles)
    return {
        "pixels": jnp.where(visible > 0, pixels, jnp.nan),
        "degrees": jnp.where(known > 0, jnp.abs(turned), jnp.nan),
    }


def baseline_points(info: dict, blobs):
    """What needs no network, for each row: (mean position, image moments), each [B, K, 2].

    The first is where the training points lie on average. The second puts the mean points of the
    training animals, as seen from their own principal axis, on the axis of the row's blob.

    Args:
      info: of the data set: `mean_points` and `blob_points`.
      blobs: float32 [B, 4], centroid and axis.
    """
    mean = jnp.broadcast_to(jnp.array(info["mean_points"]), (len(blobs), len(info["keypoints"]), 2))
    along, across = jnp.moveaxis(jnp.array(info["blob_points"]), -1, 0)  # [K] each
    x, y = blobs[:, 2, None], blobs[:, 3, None]
    offsets = jnp.stack([along * x - across * y, along * y + across * x], -1)
    return mean, blobs[:, None, :2] + offsets


def summarize(rows: dict[str, np.ndarray], keypoints: Sequence[str], angles: Sequence[Angle]):
    """{name: float} of a whole split; NaN where nothing of the kind is labelled."""
    pixels = rows["pixels"]
    values = {
        "mean_pixel_error": _mean(pixels),
        "median_pixel_error": _percentile(pixels, 50),
        **{f"pck_{r}": _mean(np.where(np.isnan(pixels), np.nan, pixels <= r)) for r in PCK},
    }
    for k, name in enumerate(keypoints):
        values[f"mean_pixel_error_{name}"] = _mean(pixels[:, k])
        values[f"median_pixel_error_{name}"] = _percentile(pixels[:, k], 50)
    for a, angle in enumerate(angles):
        values[f"{angle.name}_error_degrees"] = _mean(rows["degrees"][:, a])
        values[f"{angle.name}_error_degrees_p90"] = _percentile(rows["degrees"][:, a], 90)
    for baseline in ("mean_position", "image_moments"):
        values[f"{baseline}_mean_pixel_error"] = _mean(rows[f"{baseline}_pixels"])
        for a, angle in enumerate(angles):
            values[f"{baseline}_{angle.name}_error_degrees"] = _mean(
                rows[f"{baseline}_degrees"][:, a]
            )
    return values


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def _percentile(values: np.ndarray, percent: float) -> float:
    known = values[np.isfinite(values)]
    return float(np.percentile(known, percent)) if known.size else float("nan")
