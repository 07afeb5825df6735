"""What the network's outputs mean: confidence, angles, and the place in the picture."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxvision.input_pipeline.views import View
from jaxvision.tasks.keypoints import heading
from jaxvision.tasks.keypoints.tracks import Tracks

# A point is right, for its confidence, within this share of the picture's longer side.
RIGHT = 0.05


class Setup(NamedTuple):
    """What is needed beside the network.

    Attributes:
      keypoints: names of the points.
      angles: of `heading.find_angles`.
      info: the data set's: `image`, `animal`, `crop_size`, `blob_length`.
      image_size: side that whole pictures are scaled to; 0: they are not.
      options: config.predict.
    """

    keypoints: tuple[str, ...]
    angles: tuple[heading.Angle, ...]
    info: dict[str, Any]
    image_size: int
    options: Any


def make_setup(config, info: dict[str, Any]) -> Setup:
    """The setup of a config.

    Raises:
      UserError: heading points that do not exist.
    """
    options = config.predict
    names = tuple(info["keypoints"])
    angles = heading.find_angles(names, config.heading)
    # Whatever the config says by now, the network takes the size that it was trained on.
    image_size = max(info["image"][:2]) if config.data.image_size else 0
    return Setup(names, angles, info, image_size, options)


def confidence(spread: np.ndarray, info: dict[str, Any], fitted: dict[str, float]) -> np.ndarray:
    """Probability that a point is within RIGHT of the picture's side of where it should be.

    The error is taken to follow Rayleigh's distribution, whose median is the spread times what
    validation chose.

    Args:
      spread: float [..., K], pixels of the network's input.
      info: with `image`, the input's [H, W, C].
      fitted: with 'error_per_spread'.
    """
    median = np.maximum(spread * fitted.get("error_per_spread", 1.0), 1e-6)
    right = RIGHT * max(info["image"][:2])
    return 1 - 0.5 ** ((right / median) ** 2)


def locate(
    outputs: dict[str, np.ndarray], view: View, setup: Setup, fitted: dict[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Points [K, 2] in the picture's own pixels and their confidence [K], of one picture.

    Args:
      outputs: 'points' [1, K, 2] and 'spread' [1, K] in pixels of the network's input.
      view: which window of the picture the network saw.
    """
    points = view.to_picture(np.asarray(outputs["points"][0]))
    return points, confidence(np.asarray(outputs["spread"][0]), setup.info, fitted)


def make_tracks(setup: Setup, points: Sequence, confidences: Sequence) -> Tracks:
    """Tracks of T frames: points [T, K, 2] and confidences [T, K], angles reckoned from them."""
    points, confidences = np.asarray(points), np.asarray(confidences)
    return Tracks(
        setup.keypoints,
        tuple(angle.name for angle in setup.angles),
        points,
        confidences,
        heading.angles_of(points, setup.angles),
        heading.both_visible(confidences, setup.angles),
    )
