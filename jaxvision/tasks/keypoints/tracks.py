"""Tracks of points as files: csv in two layouts, and SLEAP's analysis h5."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxvision.cache import atomic_file
from jaxvision.errors import UserError

SCORER = "jaxvision"


class Tracks(NamedTuple):
    """Points and angles of one animal over T frames.

    Attributes:
      keypoints: names of K points.
      angles: names of A angles.
      points: float [T, K, 2], x and y in pixels of the frame, (0, 0) the first pixel's centre.
      confidence: float [T, K] in [0, 1].
      degrees: float [T, A]; 0 is +x, counter-clockwise as seen in the picture.
      degrees_confidence: float [T, A] in [0, 1].
    """

    keypoints: Sequence[str]
    angles: Sequence[str]
    points: np.ndarray
    confidence: np.ndarray
    degrees: np.ndarray
    degrees_confidence: np.ndarray


def write_csv(path: Path, tracks: Tracks, layout: str, files: Sequence[str] = ()) -> None:
    """One line a frame.

    plain: frame, <point>_x, <point>_y, <point>_confidence, <angle>_degrees, <angle>_confidence.
    deeplabcut: header rows scorer, bodyparts and coords (x, y, likelihood); no angles.

    Args:
      files: names that stand in the first column in place of the frame's number.

    Raises:
      UserError: unknown layout; the file cannot be written.
    """
    header = _deeplabcut_header if layout == "deeplabcut" else _plain_header
    frames = list(files) or range(len(tracks.points))
    values = np.concatenate([tracks.points, tracks.confidence[..., None]], -1)  # [T, K, 3]
    columns = values.reshape(len(values), -1)
    if layout == "plain":
        angles = np.stack([tracks.degrees, tracks.degrees_confidence], -1)  # [T, A, 2]
        columns = np.concatenate([columns, angles.reshape(len(angles), -1)], 1)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerows(header(tracks, "file" if files else "frame"))
            for frame, row in zip(frames, columns, strict=True):
                writer.writerow([frame, *(f"{v:.4f}" if np.isfinite(v) else "" for v in row)])
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error


def _plain_header(tracks: Tracks, first: str) -> list[list[str]]:
    return [[first, *columns(tracks.keypoints, tracks.angles)]]


def columns(keypoints: Sequence[str], angles: Sequence[str]) -> list[str]:
    """The plain layout's, after the frame's."""
    points = [f"{p}_{what}" for p in keypoints for what in ("x", "y", "confidence")]
    return [*points, *(f"{a}_{what}" for a in angles for what in ("degrees", "confidence"))]


def _deeplabcut_header(tracks: Tracks, first: str) -> list[list[str]]:
    parts = [part for part in tracks.keypoints for _ in range(3)]
    coords = ["x", "y", "likelihood"] * len(tracks.keypoints)
    return [["scorer", *[SCORER] * len(parts)], ["bodyparts", *parts], ["coords", *coords]]


def require_h5py():
    """The module `h5py`.

    Raises:
      UserError: it is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise UserError('predict.h5 needs h5py: pip install -e ".[tracks]"') from error
    return h5py


def write_h5(path: Path, tracks: Tracks, video: str) -> None:
    """An h5 with the data sets of SLEAP's analysis export, for one animal (one track).

    Raises:
      UserError: h5py is missing; the file cannot be written.
    """
    h5py = require_h5py()
    known = np.isfinite(tracks.points).all(-1)  # [T, K]
    data = {
        "tracks": tracks.points.transpose(2, 1, 0)[None].astype(np.float64),  # [1, 2, K, T]
        "track_occupancy": known.any(1)[:, None].astype(np.uint8),  # [T, 1]
        "point_scores": tracks.confidence.T[None].astype(np.float64),  # [1, K, T]
        "instance_scores": tracks.confidence.mean(1)[None].astype(np.float64),  # [1, T]
        "node_names": np.array(tracks.keypoints, "S"),
        "track_names": np.array(["animal"], "S"),
        "edge_names": np.zeros((0, 2), "S1"),
        "edge_inds": np.zeros((0, 2), np.int32),
        **{f"{name}_degrees": tracks.degrees[:, i] for i, name in enumerate(tracks.angles)},
    }
    try:
        memory = io.BytesIO()
        with h5py.File(memory, "w") as file:
            for name, array in data.items():
                file.create_dataset(name, data=array)
            file["video_path"] = video
        with atomic_file(path) as target:
            target.write(memory.getvalue())
    except OSError as error:
        raise UserError(f"cannot write {path}: {error}") from error
