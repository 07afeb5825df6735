"""Films: frames one after the other, and a few of them spread over the whole."""

import contextlib
import itertools
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxvision.errors import FileError
from jaxvision.input_pipeline import video
from jaxvision.input_pipeline.readers.keypoints import files as keypoint_files


class Film(NamedTuple):
    """Frames, never all in memory.

    Attributes:
      name: for messages.
      fps: frames a second.
      frames: () -> iterator of uint8 [H, W, C], from the first on.
      samples: (count, convert) -> what `convert` makes of about `count` frames spread over the
        film, in order; does not decode all of it where it can seek.
      cropped: the frames are crops already, of the model's size.
      problems: what is wrong with a film that ended before its time; filled as frames are read.
    """

    name: str
    fps: float
    frames: Callable[[], Iterator[np.ndarray]]
    samples: Callable[[int, Callable], list]
    cropped: bool
    problems: list[str]


def is_film(path: Path) -> bool:
    """Whether the file's name is that of an npz or a video."""
    return Path(path).suffix.lower() in (".npz", *video.EXTENSIONS)


def open_film(path: Path, fps: float) -> Film:
    """A video file, or an npz of `images`.

    Args:
      path: of the file.
      fps: of an npz, which does not tell.

    Raises:
      FileError: it cannot be read, or holds something else.
    """
    if path.suffix.lower() == ".npz":
        key, count = _find_images(path)
        return row_film(str(path), fps, count, lambda rows: _npz_rows(path, key, rows))
    rate, frames = video.read_video(path)
    frames.close()
    problems = []
    return Film(
        str(path),
        rate,
        lambda: video.until_cut(video.read_video(path)[1], problems),
        lambda count, convert: video.sample_frames(path, count, convert),
        False,
        problems,
    )


def row_film(
    name: str, fps: float, count: int, read: Callable[[range], Iterator[np.ndarray]]
) -> Film:
    """A film of `count` crops; `read` yields those of increasing row numbers."""

    def samples(wanted: int, convert: Callable) -> list:
        rows = np.unique(np.linspace(0, count - 1, min(wanted, count)).astype(int))
        return [convert(frame) for frame in read(rows)]

    return Film(name, fps, lambda: iter(read(range(count))), samples, True, [])


def first_frames(film: Film, limit: int) -> Film:
    """The first `limit` frames of a film; samples still come from all of it."""

    def frames():
        yield from itertools.islice(film.frames(), limit)

    return film._replace(frames=frames)


@contextlib.contextmanager
def _npz_errors(path: Path):
    try:
        yield
    except FileError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zipfile.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise FileError(f"cannot read {path} as npz: {reason}") from error


def _find_images(path: Path) -> tuple[str, int]:
    """The name of the array of pictures, and how many they are; reads headers only."""
    with _npz_errors(path), zipfile.ZipFile(path) as archive:
        arrays = {}
        for name in archive.namelist():
            if name.endswith(".npy"):
                with archive.open(name) as member:
                    shape, _, dtype = _header(member)
                # Has shape and dtype without the memory.
                arrays[name.removesuffix(".npy")] = np.broadcast_to(np.zeros((), dtype), shape)
        key = keypoint_files.find_images(arrays, path)
        return key, len(arrays[key])


def _header(member) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else (
        np.lib.format.read_array_header_2_0)  # fmt: skip
    return read(member)


def _npz_rows(path: Path, key: str, rows) -> Iterator[np.ndarray]:
    """Pictures uint8 [H, W, C] of increasing row numbers, read one after the other."""
    with _npz_errors(path), zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as member:
        shape, fortran, _ = _header(member)
        if fortran:  # pictures do not lie one after the other
            array = keypoint_files.open_npz(path)[key].reshape(*shape[:3], -1)
            yield from (array[row] for row in rows)
            return
        size, start = int(np.prod(shape[1:])), member.tell()
        for row in rows:
            member.seek(start + int(row) * size)
            data = member.read(size)
            if len(data) < size:
                raise FileError(f"cannot read {path} as npz: {key} is cut off at picture {row}")
            yield np.frombuffer(data, np.uint8).reshape(*shape[1:3], -1)
