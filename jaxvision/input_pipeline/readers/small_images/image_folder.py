"""A folder of images of any size: cut to squares and resized, with classes where it has folders.

photos/0001.jpg                     no labels
photos/cat/0001.jpg                 labels: the folders' names
photos/train/... photos/test/...    either of these, split already
"""

import functools
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxvision.errors import UserError
from jaxvision.input_pipeline import checks, images
from jaxvision.input_pipeline.dataset import (
    SPLITS,
    VAL_FRACTION,
    Dataset,
    Split,
    fingerprint,
    hash_split,
)

FRACTIONS = {"train": 0.8, "val": 0.1, "test": 0.1}


class Found(NamedTuple):
    """An image file: its path, name inside the folder, class ('' without) and split ('' open)."""

    path: Path
    name: str
    label: str
    split: str


def load(config, path: Path) -> Dataset:
    """The images under `path`; rows as those of `small_images`.

    Raises:
      UserError: no images, images both with and without a class, more than 1 % unusable.
    """
    size = config.data.image_size
    if size < 1:
        raise UserError(f"data.image_size is {size}: give the side of the images in pixels")
    files = _find(path)
    if not files:
        raise UserError(f"{path} holds no images ({', '.join(images.EXTENSIONS)})")
    classes = sorted({file.label for file in files} - {""})
    if classes and any(not file.label for file in files):
        loose = next(file.name for file in files if not file.label)
        raise UserError(f"{path} holds folders of classes and, beside them, {loose}: sort it in")
    checked = checks.check_files([(str(file.path), "image") for file in files], path)
    good = [(file, c.digest) for file, c in zip(files, checked, strict=True) if not c.error]
    problems = [f"{f.name}: {c.error}" for f, c in zip(files, checked, strict=True) if c.error]
    notes = checks.skip_problems(problems, len(files), str(path))
    splits = {split: [] for split in SPLITS}
    given = {file.split for file, _ in good} - {""}
    for file, digest in good:
        splits[_split_of(file, given)].append((file, digest))
    kept, dropped = checks.drop_duplicates(
        {split: [digest for _, digest in splits[split]] for split in splits}
    )
    splits = {s: [splits[s][i] for i in kept[s]] for s in splits if kept[s]}
    read = functools.partial(_split, classes=classes, size=size, gray=config.data.gray)
    parts = [(s, file.name, digest) for s, rows in splits.items() for file, digest in rows]
    how = "its folders" if given else "by name: train 0.8, val 0.1, test 0.1"
    return Dataset(
        source=f"{path} (images; split by {how})" if given else f"{path} (images; split {how})",
        splits={split: read([file for file, _ in rows]) for split, rows in splits.items()},
        notes=[*notes, *dropped],
        info={"shape": [size, size, 1 if config.data.gray else 3], "classes": classes},
        fingerprint=fingerprint(["image folder 1", size, config.data.gray, *parts]),
    )


def fit(pixels: np.ndarray, size: int, gray: bool) -> np.ndarray:
    """The middle square of an image, resized.

    Args:
      pixels: uint8 [H, W, 3].
      size: side of the result, pixels.
      gray: one channel in place of three.

    Returns:
      uint8 [size, size, 1 or 3].
    """
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(pixels[top : top + side, left : left + side])
    square = square.convert("L") if gray else square
    # Pillow widens the filter when it reduces, so nothing aliases.
    resized = np.asarray(square.resize((size, size), Image.Resampling.BICUBIC))
    return resized[..., None] if gray else resized


class FolderReader(NamedTuple):
    """Decodes row i; picklable, and holds no pixels. `labels` is None where there are none."""

    files: list[str]
    labels: np.ndarray | None
    size: int
    gray: bool

    def __call__(self, i: int) -> dict[str, np.ndarray]:
        image = fit(images.decode_image(self.files[i]), self.size, self.gray)
        row = {"image": image, "index": np.int32(i)}
        return row if self.labels is None else {**row, "label": self.labels[i]}


def _split(files, classes, size, gray):
    labels = np.array([classes.index(f.label) for f in files], np.int32) if classes else None
    reader = FolderReader([str(file.path) for file in files], labels, size, gray)
    return Split([file.name for file in files], reader, len(files))


def _split_of(file: Found, given: set[str]) -> str:
    if not given:
        return hash_split(file.name, FRACTIONS)
    if file.split == "train" and "val" not in given:
        return hash_split(file.name, {"val": VAL_FRACTION, "train": 1 - VAL_FRACTION})
    return file.split


def _find(path: Path) -> list[Found]:
    folders = {folder.name: folder for folder in _folders(path)}
    splits = [split for split in SPLITS if split in folders]
    if not splits:
        return _find_classes(path, "")
    return [found for split in splits for found in _find_classes(folders[split], split)]


def _find_classes(folder: Path, split: str) -> list[Found]:
    """Images directly in the folder, and those of each folder in it as a class."""
    found = [Found(p, _name(split, "", p), "", split) for p in _files(folder)]
    for inner in _folders(folder):
        found += [Found(p, _name(split, inner.name, p), inner.name, split) for p in _files(inner)]
    return found


def _name(split: str, label: str, path: Path) -> str:
    return "/".join(part for part in (split, label, path.name) if part)


def _folders(path: Path) -> list[Path]:
    return sorted((p for p in path.iterdir() if p.is_dir() and p.name[0] != "."), key=_natural)


def _files(folder: Path) -> list[Path]:
    """Image files, without the hidden ones (macOS puts a '._name.jpg' beside each)."""
    paths = (p for p in folder.iterdir() if p.suffix.lower() in images.EXTENSIONS)
    return sorted((p for p in paths if p.name[0] != "." and p.is_file()), key=_natural)


def _natural(path: Path) -> list:
    """Sorts img_2 before img_10."""
    parts = re.split(r"(\d+)", path.name)
    return [(not part.isdigit(), int(part) if part.isdigit() else part) for part in parts]
