"""The idx files of MNIST (LeCun et al.) and of data sets in its form, gzipped or not."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from jaxvision.errors import UserError

_STEMS = {"train": "train", "test": "t10k"}


def found(path: Path) -> bool:
    """Whether the folder holds idx images of training or test."""
    return any(_file(path, f"{stem}-images", 3) for stem in _STEMS.values())


def read(path: Path) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], list[str]]:
    """({split: (images uint8 [N, H, W, 1], labels int32 [N])}, class names) of a folder.

    Raises:
      UserError: a file is missing or damaged, or images and labels differ in number.
    """
    splits = {}
    for split, stem in _STEMS.items():
        image_file, label_file = _file(path, f"{stem}-images", 3), _file(path, f"{stem}-labels", 1)
        if not image_file:
            continue
        if not label_file:
            raise UserError(f"{path} holds {image_file.name} but no {stem}-labels-idx1-ubyte[.gz]")
        images, labels = read_idx(image_file, 3), read_idx(label_file, 1)
        if len(images) != len(labels):
            raise UserError(f"{image_file} holds {len(images)} images, but {len(labels)} labels")
        splits[split] = images[..., None], labels.astype(np.int32)
    classes = max(int(labels.max(initial=0)) for _, labels in splits.values()) + 1
    return splits, [str(i) for i in range(classes)]


def read_idx(path: Path, axes: int) -> np.ndarray:
    """An idx file of bytes as uint8 with `axes` axes.

    Raises:
      UserError: it is damaged, of another type, or has another number of axes.
    """
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: damaged or unreadable ({error}); download it again") from error
    head = 4 + 4 * axes
    if content[:4] != bytes([0, 0, 8, axes]) or len(content) < head:
        raise UserError(f"{path}: no idx file of bytes with {axes} axes; it begins {content[:4]!r}")
    shape = struct.unpack(f">{axes}I", content[4:head])
    if len(content) - head != np.prod(shape, dtype=np.int64):
        raise UserError(
            f"{path}: {len(content) - head} bytes where its header says {shape}; download it again"
        )
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)


def _file(path: Path, start: str, axes: int) -> Path | None:
    """The file under any of its usual names."""
    for name in (f"{start}-idx{axes}-ubyte", f"{start}.idx{axes}-ubyte"):
        for suffix in ("", ".gz"):
            if (path / (name + suffix)).is_file():
                return path / (name + suffix)
    return None
