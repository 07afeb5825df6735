"""Video files, decoded frame by frame (extra [video]: PyAV, which brings FFmpeg)."""

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxvision.errors import FileError

EXTENSIONS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")
DEFAULT_FPS = 30.0  # where a file does not tell
# A film may lack this share of what its file declares, and one frame, before it counts as cut.
SLACK = 0.01
LOOSE_SLACK = 0.1  # where only the file as a whole declares its length, sound included


class CutShort(FileError):
    """A film that ends before its time; `frames` of it were decoded, and are good."""

    def __init__(self, message: str, frames: int):
        super().__init__(message)
        self.frames = frames


class Declared(NamedTuple):
    """What a file says of a film's length.

    Attributes:
      frames: how many; 0 where it does not tell.
      seconds: how long; 0.0 where it does not tell.
      slack: share of it that may be missing.
      fps: frames a second.
    """

    frames: int
    seconds: float
    slack: float
    fps: float

    def about(self) -> int:
        """Frames, as far as they are known."""
        return self.frames or round(self.seconds * self.fps)

    def lacks(self, count: int, end: float) -> bool:
        """Whether `count` frames up to `end` seconds are too few."""
        spare = self.slack * self.about() + 1
        few = self.frames - count > spare if self.frames else True
        early = (self.seconds - end) * self.fps > spare if self.seconds else True
        return bool(self.about()) and few and early


def require_av():
    """The module `av`.

    Raises:
      FileError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise FileError('films need PyAV: pip install -e ".[video]"') from error
    return av


def read_video(path: str | os.PathLike) -> tuple[float, Iterator[np.ndarray]]:
    """The frames of a film's first video stream, in order, decoded as they are asked for.

    Args:
      path: anything that FFmpeg reads.

    Returns:
      frames a second, and an iterator of uint8 [H, W, 3] frames, RGB, turned upright as the file's
      rotation says; the file stays open until the iterator ends or is closed.

    Raises:
      FileError: PyAV is not installed; '<path>: <reason>' for a file that is missing or no film,
        CutShort, from the iterator and after the last good frame, for one that is damaged from
        there on, or that ends before the length which its file declares.
    """
    av = require_av()
    path = Path(path)
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        raise FileError(f"{path}: {_reason(error)}") from error
    if not container.streams.video:
        container.close()
        raise FileError(f"{path}: holds no video stream")
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    rate = stream.average_rate or stream.guessed_rate
    fps = float(rate) if rate else DEFAULT_FPS
    return fps, _frames(av, container, stream, path, _declared(container, stream, fps))


def until_cut(frames: Iterator[np.ndarray], problems: list[str]) -> Iterator[np.ndarray]:
    """The frames up to where a film ends before its time; what is wrong then joins `problems`.

    Raises:
      FileError: as `read_video`, where not one frame could be decoded.
    """
    try:
        yield from frames
    except CutShort as error:
        if not error.frames:
            raise
        problems.append(str(error))


def _declared(container, stream, fps: float) -> Declared:
    lengths = []
    if stream.duration:
        lengths.append(float(stream.duration * stream.time_base))
    if tag := stream.metadata.get("DURATION", ""):  # of Matroska: 00:00:04.800000000
        with contextlib.suppress(ValueError):
            hours, minutes, seconds = (float(part) for part in tag.split(":"))
            lengths.append(3600 * hours + 60 * minutes + seconds)
    slack = SLACK if lengths or stream.frames else LOOSE_SLACK
    if container.duration:  # less than the stream's own where the film was trimmed by an edit list
        lengths.append(container.duration / 1e6)
    # FFmpeg takes an AVI's length from the size of the file, whose end may be missing.
    avi = container.format.name == "avi"
    return Declared(stream.frames, 0.0 if avi else min(lengths, default=0.0), slack, fps)


def _frames(av, container, stream, path: Path, declared: Declared) -> Iterator[np.ndarray]:
    count, end, held, reason = 0, 0.0, None, ""
    start = float(stream.start_time * stream.time_base) if stream.start_time else 0.0
    with container:
        try:
            for frame in container.decode(stream):
                # A broken frame in the middle is a glitch; at the end it is where the file was cut.
                if held is not None:
                    yield _pixels(held)
                    count, held = count + 1, None
                if frame.is_corrupt:
                    held = frame
                    continue
                yield _pixels(frame)
                count += 1
                end = count / declared.fps  # where frames carry no time
                if frame.time is not None:
                    end = frame.time - start + 1 / declared.fps
        except av.FFmpegError as error:
            reason = f" ({_reason(error)})"
    if reason or held is not None or (count and declared.lacks(count, end)):
        whole = f" of about {declared.about()}" if declared.about() > count else ""
        raise CutShort(f"{path}: damaged or cut short after {count}{whole} frames{reason}", count)
    if not count:
        raise FileError(f"{path}: holds no frame")


def _pixels(frame) -> np.ndarray:
    pixels = frame.to_ndarray(format="rgb24")
    return np.rot90(pixels, round(frame.rotation / 90)) if frame.rotation else pixels


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
      FileError: as `read_video`.
    """
    av, path, samples = require_av(), Path(path), []
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise FileError(f"{path}: holds no video stream")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            keys = sorted(e.timestamp for e in stream.index_entries if e.is_keyframe)
            length = stream.duration or (container.duration or 0) / av.time_base / stream.time_base
            if keys and length:
                targets = (stream.start_time or 0) + (np.arange(count) + 0.5) / count * float(
                    length
                )
                for frame in _seek_frames(container, stream, keys, targets):
                    samples.append(convert(frame))
                return samples
    except (av.FFmpegError, OSError) as error:
        if samples:  # damaged from there on
            return samples
        raise FileError(f"{path}: {_reason(error)}") from error
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
                yield _pixels(frame)
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
