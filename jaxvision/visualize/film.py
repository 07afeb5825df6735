"""Films as mp4 files that every player and browser shows (extra [video])."""

import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np

from jaxvision.cache import atomic_file
from jaxvision.errors import UserError
from jaxvision.input_pipeline.video import require_av

QUALITY = 18  # x264's constant rate factor: 18 looks like the original, 51 is the worst
# x264's effort. At one QUALITY films look alike; "medium", its default, took most of the time that
# it takes to locate an animal and draw it, and holds 40 frames to look ahead.
PRESET = "veryfast"


def write_film(path: str | os.PathLike, frames: Iterable[np.ndarray], fps: float) -> int:
    """Writes frames as an H.264 mp4 (yuv420p), which appears at `path` whole or not at all.

    yuv420p has even sides: an odd side grows by one pixel, a copy of its last row or column.

    Args:
      frames: uint8 [H, W, 3] RGB, all of one size; may be a generator, one frame is held at a time.
      fps: frames a second.

    Returns:
      how many frames were written.

    Raises:
      UserError: PyAV is not installed; there is no frame; the sizes differ; fps is not positive;
        the file cannot be written.
    """
    av = require_av()
    path = Path(path)
    if not fps > 0:
        raise UserError(f"{path}: a film of {fps} frames a second; give a number above 0")
    options = {"crf": str(QUALITY), "preset": PRESET}
    rate = Fraction(fps).limit_denominator(1001)
    try:
        with atomic_file(path) as file, av.open(file, "w", format="mp4") as container:
            stream = container.add_stream("h264", rate=rate, options=options)
            stream.pix_fmt = "yuv420p"
            return _encode(av, container, stream, frames, path)
    except (OSError, av.FFmpegError) as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def _encode(av, container, stream, frames: Iterable[np.ndarray], path: Path) -> int:
    shape, count = None, 0
    for frame in frames:
        frame = np.asarray(frame)
        if shape is None:
            shape = frame.shape
            stream.height, stream.width = (side + side % 2 for side in shape[:2])
        if frame.shape != shape:
            raise UserError(f"{path}: frame {count} is {frame.shape}, the first {shape}")
        even = np.pad(frame, ((0, shape[0] % 2), (0, shape[1] % 2), (0, 0)), mode="edge")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        container.mux(stream.encode(picture))
        count += 1
    if not count:
        raise UserError(f"{path}: there is no frame to write")
    container.mux(stream.encode())
    return count
