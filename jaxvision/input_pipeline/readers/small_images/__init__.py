"""Small images, with or without labels, from whatever lies at data.path.

    mnist/train-images-idx3-ubyte.gz ...                     MNIST and its kin, gzipped or not
    cifar-10-batches-bin/data_batch_1.bin ...                CIFAR-10, binary
    cifar-10-batches-py/data_batch_1 ...                     CIFAR-10, python
    photos/0001.jpg  photos/train/cat/0001.jpg ...           a folder of images
    photos/data/train-00000-of-00002.parquet ...             Hugging Face's parquet files
    a TFDS folder, where data.tfds names the data set

Rows are {'image': uint8 [H, W, C], 'index': int32, 'label': int32 where there are labels}.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxvision.errors import UserError
from jaxvision.input_pipeline import checks, pixels, tfds
from jaxvision.input_pipeline.dataset import (
    SPLITS,
    VAL_FRACTION,
    Dataset,
    Split,
    fingerprint,
    hash_split,
)
from jaxvision.input_pipeline.readers.small_images import cifar10, idx, image_folder


class Arrays(NamedTuple):
    """A whole split in memory: images uint8 [N, H, W, C], labels int32 [N]."""

    images: np.ndarray
    labels: np.ndarray


class ArrayReader(NamedTuple):
    """Row i of a split: images[rows[i]] with its label and number; picklable.

    Attributes:
      images: uint8 [N, H, W, C].
      labels: int32 [N]; None: there are none.
      rows: int [n], which of them belong to the split.
    """

    images: np.ndarray
    labels: np.ndarray | None
    rows: np.ndarray

    def __call__(self, i: int) -> dict[str, np.ndarray]:
        row = {"image": self.images[self.rows[i]], "index": np.int32(i)}
        return row if self.labels is None else {**row, "label": self.labels[self.rows[i]]}


def load(config) -> Dataset:
    """Reads config.data.path; `info` holds 'shape' (H, W, C) and 'classes' (names; [] without).

    Train and test are the files' own; a tenth of train, chosen by a hash, becomes val. Exact copies
    across splits are left out of the earlier one.

    Raises:
      UserError: the path or what it holds cannot be used.
    """
    path = Path(config.data.path).expanduser()
    if config.data.tfds:
        pixels.refuse_range(config.data.range, "TFDS' are of 8")
        return from_arrays(f"{config.data.tfds} of TFDS in {path}", *tfds.read(config, path))
    if not path.is_dir() and path.suffix.lower() != ".parquet":
        raise UserError(
            f"data.path={str(path)!r} is no folder: give one with MNIST's idx files, CIFAR-10's "
            "batches or images"
        )
    for reader, name in ((idx, "idx files"), (cifar10, "CIFAR-10")):
        if reader.found(path):
            pixels.refuse_range(config.data.range, f"those of {name} are of 8")
            return from_arrays(f"{path} ({name})", *reader.read(path))
    return image_folder.load(config, path)


def from_arrays(source: str, arrays: dict[str, Arrays], classes: Sequence[str]) -> Dataset:
    """A data set of whole splits in memory; val is cut off train where there is none.

    Args:
      source: for the log.
      arrays: {'train': (images, labels), 'test': ...}.
      classes: their names.

    Raises:
      UserError: a label has no class; splits whose images differ in shape.
    """
    shapes = {split: images.shape[1:] for split, (images, _) in arrays.items()}
    if len(set(shapes.values())) > 1:
        raise UserError(f"{source}: images of different shapes, {shapes}; make them alike")
    for split, (_, labels) in arrays.items():
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(classes):
            raise UserError(
                f"{source}: labels of {split} run from {labels.min()} to {labels.max()}, "
                f"but there are {len(classes)} classes"
            )
    digests = {split: [_digest(image) for image in images] for split, (images, _) in arrays.items()}
    rows = {split: np.arange(len(readable)) for split, readable in digests.items()}
    method = "its own splits"
    if "train" in rows and "val" not in rows:
        rows = {**_cut_val(rows.pop("train")), **rows}
        method += "; val = a tenth of train"
    origin = {split: arrays[split if split in arrays else "train"] for split in rows}
    readable = {split: digests[split if split in digests else "train"] for split in rows}
    kept, notes = checks.drop_duplicates({s: [readable[s][i] for i in rows[s]] for s in rows})
    splits = {}
    for split in SPLITS:
        if split in rows and kept[split]:
            chosen = rows[split][kept[split]]
            reader = ArrayReader(*origin[split], chosen)
            splits[split] = Split([f"{split}_{i:05d}" for i in chosen], reader, len(chosen))
    key = fingerprint(["small images 2", *classes, *_parts(digests, arrays)])
    shape = next(iter(shapes.values()))
    info = {"shape": list(shape), "classes": list(classes)}
    return Dataset(f"{source} ({method})", splits, notes, info, key)


def _parts(digests: dict[str, list[str]], arrays: dict[str, Arrays]) -> list[str]:
    """A hash of each split's images, and one of its labels: both are what a row holds."""
    parts = []
    for split, own in digests.items():
        labels = np.ascontiguousarray(arrays[split][1], np.int32).tobytes()
        hashes = (
            hashlib.sha256(content).hexdigest() for content in ("".join(own).encode(), labels)
        )
        parts.append(" ".join((split, *hashes)))
    return parts


def _cut_val(rows: np.ndarray) -> dict[str, np.ndarray]:
    fractions = {"val": VAL_FRACTION, "train": 1 - VAL_FRACTION}
    sides = np.array([hash_split(f"train_{i:05d}", fractions) for i in rows])
    return {split: rows[sides == split] for split in ("train", "val")}


def _digest(image: np.ndarray) -> str:
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).hexdigest()
