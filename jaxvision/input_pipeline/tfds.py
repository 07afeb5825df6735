"""Image data sets of TensorFlow Datasets, such as mnist and cifar10."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxvision.errors import UserError
from jaxvision.input_pipeline import labelled, parallel
from jaxvision.input_pipeline.dataset import Dataset
from jaxvision.input_pipeline.folders import SPLIT_NAMES


def refuse_without_path(config: Any) -> None:
    """Raises UserError where built-in data would be used in place of `data.tfds`."""
    if config.data.tfds:
        raise UserError(
            f"data.tfds={config.data.tfds!r} needs data.path, the folder where TFDS keeps its data "
            "or is to put it; without data.path the built-in data are used"
        )


def read(config: Any, path: Path) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], list[str]]:
    """({split: (images uint8 [N, H, W, C], labels int32 [N])}, class names).

    What is not yet under `path` is downloaded and prepared there, which needs TensorFlow; reading
    that again does not.

    Args:
      config: `data.tfds` is the data set's name, `data.label` that of its labels ('': label).
      path: TFDS' data_dir.

    Raises:
      UserError: tensorflow-datasets is not installed, no such data set, no download, no images of
        one size with labels.
    """
    with _reasons(config, path):
        builder, label = _open(config, path)
        features = builder.info.features
        if None in features["image"].shape:
            raise UserError("it has no images of one size with labels")
        named = {"validation": "val"}
        splits = {}
        for split in builder.info.splits:
            images, labels = zip(*_rows(builder, split, label), strict=True)
            splits[named.get(split, split)] = np.stack(images), np.array(labels, np.int32)
    return splits, features[label].names


def load(config: Any) -> Dataset:
    """The data set for a classifier: rows as `labelled.make_dataset` gives them.

    Its pictures, of any size, are held in memory as the network is given them.

    Raises:
      UserError: as `read`; splits that are none of train, val and test alone; too little memory.
    """
    path = Path(config.data.path).expanduser()
    examples, notes = [], []
    with _reasons(config, path):
        builder, label = _open(config, path)
        names = builder.info.features[label].names
        splits = {s: SPLIT_NAMES[s] for s in builder.info.splits if s in SPLIT_NAMES}
        others = [s for s in builder.info.splits if s not in splits]
        if not splits:
            raise UserError(f"its splits are {', '.join(others)}: none is train, val or test")
        if others:
            notes.append(f"splits of {config.data.tfds} left out: {', '.join(others)}")
        _refuse_size(config, sum(builder.info.splits[s].num_examples for s in splits))
        for split, ours in splits.items():
            rows = parallel.counted(
                _rows(builder, split, label),
                f"reading {split}",
                builder.info.splits[split].num_examples,
            )
            for i, (image, number) in enumerate(rows):
                examples.append(_example(config, f"{split}_{i:05d}", image, names[number], ours))
    where = f"{config.data.tfds} of TFDS in {path}"
    return labelled.make_dataset(examples, names, notes, where, config)


def _example(config: Any, name: str, image: np.ndarray, label: str, split: str) -> labelled.Example:
    if image.dtype != np.uint8 or image.shape[2] not in (1, 3):
        raise UserError(
            f"{name} has {image.shape[2]} channels of {image.dtype}: needed are 1 or 3 of uint8"
        )
    digest = hashlib.blake2b(str(image.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).data)
    size = min(image.shape[:2])
    image = image[..., 0] if image.shape[2] == 1 else image
    square = labelled.to_square(image, config.data.image_size, config.data.channels)
    square = square[..., 0] if config.data.channels == 1 else square
    return labelled.Example(name, square, label, split, digest.hexdigest(), size)


def _refuse_size(config: Any, count: int) -> None:
    """Raises UserError where the pictures need more than half of the memory."""
    needed = count * config.data.image_size**2 * config.data.channels
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > memory / 2:
        raise UserError(
            f"its {count:,} pictures take {needed / 2**30:.1f} GiB of memory at "
            f"data.image_size={config.data.image_size}, of {memory / 2**30:.1f}: lower it"
        )


@contextlib.contextmanager
def _reasons(config: Any, path: Path) -> Iterator[None]:
    """Turns what TFDS raises into one line."""
    try:
        yield
    except _NotInstalled as error:
        raise UserError(str(error)) from error
    except Exception as error:  # downloads, disks and TFDS itself fail in many ways
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"data.tfds={config.data.tfds!r} cannot be had in {path}: {reason}"
        ) from error


class _NotInstalled(Exception):
    pass


def _open(config: Any, path: Path) -> tuple[Any, str]:
    """The prepared builder, and the name of its labels."""
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise _NotInstalled(
            'data.tfds needs tensorflow-datasets: pip install -e ".[tf]"'
        ) from error
    name, label = config.data.tfds, config.data.label or "label"
    builder = tfds.builder(name, data_dir=str(path))
    if not builder.is_prepared():
        builder = tfds.builder(name, data_dir=str(path), file_format="array_record")
        builder.download_and_prepare()
    features = builder.info.features
    if not {"image", label} <= set(features) or not hasattr(features[label], "names"):
        raise UserError(
            f"it has no images with labels (image and {label}); it has {', '.join(features)}"
        )
    return builder, label


def _rows(builder: Any, split: str, label: str) -> Iterator[tuple[np.ndarray, int]]:
    """Every row; files of another kind than array_record are TensorFlow's to read."""
    if builder.info.file_format.value == "array_record":
        rows = builder.as_data_source(split)
    else:
        import tensorflow_datasets as tfds

        rows = tfds.as_numpy(builder.as_dataset(split, shuffle_files=False))
    for row in rows:
        yield row["image"], int(row[label])
