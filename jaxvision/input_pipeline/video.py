"""Video files, decoded frame by frame (extra [video]: PyAV, which brings FFmpeg)."""

import math
import os
from collections.abc import Callable, Iterator
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


def sample_frames(
    path: str | os.PathLike, count: int, convert: Callable[[np.ndarray], np.ndarray]
) -> list[np.ndarray]:
    """Frames spread over a film, without decoding all of it.

    Seeks to key frames; decodes on from one only where more than one sample lies between two of
    them. A file without an index or a duration (a raw stream) cannot seek: it costs one more pass
    over all frames.

    Args:
      path: anything that FFmpeg reads.
      count: how many are wanted; a film of fewer frames gives all, one that cannot seek up to
        twice as many.
      convert: is called with each sampled frame, uint8 [H, W, 3], as soon as it is decoded (to make
        it smaller, say).

    Returns:
      what `convert` made of them, in order.

    Raises:
      UserError: as `read_video`.
    """
    av, path = require_av(), Path(path)
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise UserError(f"{path}: holds no video stream")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            keys = sorted(e.timestamp for e in stream.index_entries if e.is_keyframe)
            length = stream.duration or (container.duration or 0) / av.time_base / stream.time_base
            if keys and length:
                targets = (stream.start_time or 0) + (np.arange(count) + 0.5) / count * float(
                    length
                )
                return [convert(frame) for frame in _seek_frames(container, stream, keys, targets)]
    except (av.FFmpegError, OSError) as error:
        raise UserError(f"{path}: {_reason(error)}") from error
    return _thinned_pass(path, count, convert)


def _seek_frames(container, stream, keys: list[int], targets: np.ndarray) -> Iterator[np.ndarray]:
    """A frame for each target time: the last key frame before it or, where that was taken, it."""
    decoder, position = container.decode(stream), -math.inf
    for target in targets:
        key = max((k for k in keys if k <= target), default=keys[0])
        ahead = key > position
        if ahead:
            container.seek(key, stream=stream)
            decoder = container.decode(stream)
        for frame in decoder:
            if ahead or frame.pts is None or frame.pts >= target:
                position = max(key, key if frame.pts is None else frame.pts)
                pixels = frame.to_ndarray(format="rgb24")
                yield np.rot90(pixels, round(frame.rotation / 90)) if frame.rotation else pixels
                break


def _thinned_pass(path: Path, count: int, convert: Callable) -> list[np.ndarray]:
    """Every n-th frame; n doubles whenever there are twice as many as wanted."""
    kept, every = [], 1
    for i, frame in enumerate(read_video(path)[1]):
        if i % every == 0:
            kept.append(convert(frame))
            if len(kept) == 2 * count:
                kept, every = kept[::2], 2 * every
    return kept
