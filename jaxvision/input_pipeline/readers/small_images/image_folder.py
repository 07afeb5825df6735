"""A folder of images of any size: cut to squares and resized, with classes where it has folders.

photos/0001.jpg                     no labels
photos/cat/0001.jpg                 labels: the folders' names
photos/train/... photos/test/...    either of these, split already
"""

import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxvision.errors import UserError
from jaxvision.input_pipeline import checks, folders, images, parquet
from jaxvision.input_pipeline.cells import Cell
from jaxvision.input_pipeline.dataset import (
    SPLITS,
    VAL_FRACTION,
    Dataset,
    Split,
    fingerprint,
    hash_split,
)

FRACTIONS = {"train": 0.8, "val": 0.1, "test": 0.1}


class ImageFile(NamedTuple):
    """An image: its path or cell, name in the folder, class ('' without) and split ('' open)."""

    path: Path | Cell
    name: str
    label: str
    split: str


def load(config, path: Path) -> Dataset:
    """The images under `path`; rows as those of `small_images`.

    Raises:
      UserError: no images, images both with and without a class, more than 1 % unusable.
    """
    size = config.data.image_size
    files, unused, classes, notes = _find(path, config.data.label)
    if not files:
        raise UserError(f"{path} holds no images ({', '.join(images.EXTENSIONS)})")
    classes = classes or sorted({file.label for file in files} - {""})
    if classes and any(not file.label for file in files):
        loose = next(file.name for file in files if not file.label)
        raise UserError(f"{path} holds folders of classes and, beside them, {loose}: sort it in")
    value_range = tuple(config.data.range)
    listed = [(_source(file), "image") for file in files]
    checked = checks.check_files(listed, path, value_range)
    good = [(file, c.digest) for file, c in zip(files, checked, strict=True) if not c.error]
    problems = [f"{f.name}: {c.error}" for f, c in zip(files, checked, strict=True) if c.error]
    notes = [*notes, *checks.skip_problems(problems, len(files), str(path))]
    notes += checks.range_notes(checked, value_range) + folders.left_out(unused, path)
    splits = {split: [] for split in SPLITS}
    given = {file.split for file, _ in good} - {""}
    for file, digest in good:
        splits[_split_of(file, given)].append((file, digest))
    kept, dropped = checks.drop_duplicates(
        {split: [digest for _, digest in splits[split]] for split in splits}
    )
    splits = {s: [splits[s][i] for i in kept[s]] for s in splits if kept[s]}
    read = functools.partial(
        _split, classes=classes, size=size, gray=config.data.gray, value_range=value_range
    )
    parts = [(s, file.name, digest) for s, rows in splits.items() for file, digest in rows]
    method = "its folders" if given else "by name: train 0.8, val 0.1, test 0.1"
    return Dataset(
        source=f"{path} (images; split by {method})"
        if given
        else f"{path} (images; split {method})",
        splits={split: read([file for file, _ in rows]) for split, rows in splits.items()},
        notes=[*notes, *dropped],
        info={"shape": [size, size, 1 if config.data.gray else 3], "classes": classes},
        fingerprint=fingerprint(["image folder 2", size, config.data.gray, *classes, *parts]),
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

    files: list[str | Cell]
    labels: np.ndarray | None
    size: int
    gray: bool
    value_range: tuple[float, ...]

    def __call__(self, i: int) -> dict[str, np.ndarray]:
        image = fit(images.decode_image(self.files[i], self.value_range), self.size, self.gray)
        row = {"image": image, "index": np.int32(i)}
        return row if self.labels is None else {**row, "label": self.labels[i]}


def _split(files, classes, size, gray, value_range):
    labels = np.array([classes.index(f.label) for f in files], np.int32) if classes else None
    reader = FolderReader([_source(file) for file in files], labels, size, gray, value_range)
    return Split([file.name for file in files], reader, len(files))


def _split_of(file: ImageFile, given: set[str]) -> str:
    if not given:
        return hash_split(file.name, FRACTIONS)
    if file.split == "train" and "val" not in given:
        return hash_split(file.name, {"val": VAL_FRACTION, "train": 1 - VAL_FRACTION})
    return file.split


def _source(file: ImageFile) -> str | Cell:
    return file.path if isinstance(file.path, Cell) else str(file.path)


def _find(path: Path, label: str) -> tuple[list[ImageFile], list[Path], list[str], list[str]]:
    """The pictures, what is left out, the classes where these have an order, and notes."""
    if found := parquet.find(path):
        listed = parquet.read(found, path, label, needed=False)
        return [ImageFile(*row) for row in listed.rows], [], listed.classes, listed.notes
    if label:
        raise UserError(f"data.label={label!r} is a column of parquet files: {path} has none")
    return *_find_files(path), [], []


def _find_files(path: Path) -> tuple[list[ImageFile], list[Path]]:
    """The pictures in folders, and what is left out."""
    seen = set()
    top = folders.read_folder(path, seen)
    splits = folders.split_folders(top)
    if not splits:
        return _find_classes(top, "", seen)
    listed, unused = [], [p for level in top[1:] for p in level if p not in splits]
    for place, split in splits.items():
        files, left = _find_classes(folders.read_folder(place, seen), split, seen)
        listed, unused = listed + files, unused + left
    return listed, unused


def _find_classes(
    level: folders.Folder, split: str, seen: set[Path]
) -> tuple[list[ImageFile], list[Path]]:
    """Pictures directly in the folder, and those of each folder in it as a class."""
    listed = [ImageFile(p, _name(split, "", p), "", split) for p in level.pictures]
    unused = list(level.others)
    for place in level.folders:
        inner = folders.read_folder(place, seen)
        label = place.name
        listed += [ImageFile(p, _name(split, label, p), label, split) for p in inner.pictures]
        unused += [*inner.folders, *inner.others]
    return listed, unused


def _name(split: str, label: str, path: Path) -> str:
    return "/".join(part for part in (split, label, path.name) if part)
