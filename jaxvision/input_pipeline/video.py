"""Video files, decoded frame by frame (extra [video]: PyAV, which brings FFmpeg)."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxvision.errors import UserError

EXTENSIONS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")
DEFAULT_FPS = 30.0  # where a file does not tell


def require_av():
    """The module `av`.

    Raises:
      UserError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise UserError('films need PyAV: pip install -e ".[video]"') from error
    return av


def read_video(path: str | os.PathLike) -> tuple[float, Iterator[np.ndarray]]:
    """The frames of a film's first video stream, in order, decoded as they are asked for.

    Args:
      path: anything that FFmpeg reads.

    Returns:
      frames a second, and an iterator of uint8 [H, W, 3] frames, RGB, turned upright as the file's
      rotation says; the file stays open until the iterator ends or is closed.

    Raises:
      UserError: PyAV is not installed; '<path>: <reason>' for a file that is missing or no film,
        and, from the iterator, for one that is damaged from some frame on.
    """
    av = require_av()
    path = Path(path)
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        raise UserError(f"{path}: {_reason(error)}") from error
    if not container.streams.video:
        container.close()
        raise UserError(f"{path}: holds no video stream")
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    rate = stream.average_rate or stream.guessed_rate
    return float(rate) if rate else DEFAULT_FPS, _frames(av, container, stream, path)


def _frames(av, container, stream, path: Path) -> Iterator[np.ndarray]:
    count = 0
    with container:
        try:
            for frame in container.decode(stream):
                pixels = frame.to_ndarray(format="rgb24")
                yield np.rot90(pixels, round(frame.rotation / 90)) if frame.rotation else pixels
                count += 1
        except av.FFmpegError as error:
            raise UserError(f"{path}: damaged after {count} frames: {_reason(error)}") from error
    if not count:
        raise UserError(f"{path}: holds no frame")


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()
