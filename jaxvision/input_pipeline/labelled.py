"""What every data set of images with one class each has in common: splits, copies, square rows."""

import collections
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

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
    unit_hash,
)

FRACTIONS = {"test": 0.1, "val": 0.1, "train": 0.8}


class Cut(NamedTuple):
    """A part of a picture file: from left to right and top to bottom, pixels, the last not in."""

    path: str
    left: int
    top: int
    right: int
    bottom: int


class Example(NamedTuple):
    """An image that was decoded once and found good.

    Attributes:
      name: unique, for messages and figures.
      source: a path, a cell of a parquet file, a part of a picture, or uint8 [H, W] or [H, W, 3]
        pixels.
      label: its class.
      split: 'train', 'val' or 'test'; '' where the data does not tell.
      digest: a hash of the pixels.
      size: its shorter side, pixels.
    """

    name: str
    source: Any
    label: str
    split: str
    digest: str
    size: int


def make_dataset(
    examples: Sequence[Example], classes: Sequence[str], notes: list[str], where: str, config: Any
) -> Dataset:
    """Splits that share no picture; rows are {'image': uint8 [S, S, C], 'label': int32 []}.

    S is config.data.image_size, C config.data.channels. The shorter side of an image is scaled to
    S and the middle of the longer one kept. Where the data holds no val, a tenth of each class of
    train becomes val; where it has no splits at all, a tenth each becomes val and test: chosen by a
    hash of the pixels, so copies of a picture stay together.

    Args:
      examples: all that can be used.
      classes: names in the order of their labels.
      notes: so far.
      where: the data set, for the log.
      config: the run's config.

    Raises:
      UserError: train lacks a class.
    """
    side, channels = config.data.image_size, config.data.channels
    splits, method = _assign(examples)
    kept, dropped = checks.drop_duplicates({s: [e.digest for e in splits[s]] for s in splits})
    splits = {s: [splits[s][i] for i in kept[s]] for s in SPLITS if kept.get(s)}
    notes = [*notes, *dropped, *_unusual(splits, classes, where)]
    number = {name: i for i, name in enumerate(classes)}
    labels = {s: np.array([number[e.label] for e in splits[s]], np.int32) for s in splits}
    counts = np.bincount(labels.get("train", np.zeros(0, np.int32)), minlength=len(classes))
    parts = [(s, e.name, e.digest, e.label) for s in splits for e in splits[s]]
    readable = {}
    for split, members in splits.items():
        sources = [e.source for e in members]
        reader = Reader(sources, labels[split], side, channels, tuple(config.data.range))
        weights = b""
        if split == "train" and config.data.balanced:
            weights = (1.0 / counts[labels[split]]).astype(np.float32).tobytes()
        names, sizes = [e.name for e in members], tuple(e.size for e in members)
        readable[split] = Split(names, reader, len(members), weights, sizes)
    return Dataset(
        source=f"{where} ({method})",
        splits=readable,
        notes=[f"{len(classes)} classes: {', '.join(classes)}", *notes],
        info={"classes": list(classes), "train_counts": counts.tolist(), "channels": channels},
        fingerprint=fingerprint(["labelled 2", side, channels, *classes, *parts]),
    )


class Reader(NamedTuple):
    """Decodes a row; picklable.

    Attributes:
      sources: as of `Example`.
      labels: int32 [rows].
      side, channels: of the images it gives.
      value_range: `data.range`.
    """

    sources: Sequence[Any]
    labels: np.ndarray
    side: int
    channels: int
    value_range: tuple[float, ...] = ()

    def __call__(self, row: int) -> dict[str, np.ndarray]:
        source = self.sources[row]
        if isinstance(source, np.ndarray):
            pixels = source
        elif isinstance(source, Cut):
            whole = images.decode_image(source.path, self.value_range)
            pixels = whole[source.top : source.bottom, source.left : source.right]
        else:
            pixels = images.decode_image(source, self.value_range)
        return {
            "image": to_square(pixels, self.side, self.channels),
            "label": np.asarray(self.labels[row], np.int32),
        }


def to_square(pixels: np.ndarray, side: int, channels: int) -> np.ndarray:
    """The middle square of an image, at a size.

    Args:
      pixels: uint8 [H, W], gray, or [H, W, 3], RGB.
      side: of the result, pixels.
      channels: 1 gray (ITU-R 601 luma), 3 RGB.

    Returns:
      uint8 [side, side, channels].
    """
    image = Image.fromarray(pixels).convert("L" if channels == 1 else "RGB")
    width, height = image.size
    if (width, height) != (side, side):
        least = min(width, height)
        left, top = (width - least) / 2, (height - least) / 2
        box = (left, top, left + least, top + least)
        image = image.resize((side, side), Image.Resampling.BICUBIC, box, reducing_gap=3.0)
    return np.asarray(image).reshape(side, side, channels)


def _assign(examples: Sequence[Example]) -> tuple[dict[str, list[Example]], str]:
    """{split: examples} and how they were split, in words."""
    given = {e.split for e in examples}
    if given == {""}:
        method = "split by a hash: a tenth of each class is val, a tenth test"
        return _stratified(examples, FRACTIONS), method
    splits = {split: [e for e in examples if e.split == split] for split in SPLITS}
    method = "splits of its own: " + ", ".join(split for split in SPLITS if split in given)
    if splits["train"] and not splits["val"]:
        parts = {"val": VAL_FRACTION, "train": 1 - VAL_FRACTION}
        splits |= _stratified(splits["train"], parts)
        method += "; val = a tenth of each class of train"
    return splits, method


def _stratified(
    examples: Sequence[Example], fractions: dict[str, float]
) -> dict[str, list[Example]]:
    """Each class parted by `fractions`, {split: share} with train last, in order of a hash."""
    splits, groups = {split: [] for split in fractions}, collections.defaultdict(list)
    for example in examples:
        groups[example.label].append(example)
    for group in groups.values():
        group = sorted(group, key=lambda e: (unit_hash(e.digest), e.name))
        start = 0
        for split, share in fractions.items():
            # Small classes too are judged, where they can spare an example.
            count = max(round(share * len(group)), 1) if len(group) > 3 else 0
            end = len(group) if split == "train" else start + count
            splits[split] += group[start:end]
            start = end
    return {split: sorted(members, key=lambda e: e.name) for split, members in splits.items()}


def _unusual(splits: dict[str, list[Example]], classes: Sequence[str], where: str) -> list[str]:
    """Notes on labels: classes without examples, copies that contradict each other, the majority.

    Raises:
      UserError: there is a train split and it lacks a class.
    """
    notes = []
    for split, members in splits.items():
        missing = [name for name in classes if name not in {e.label for e in members}]
        if missing and split == "train":
            raise UserError(
                f"{where}: train holds no usable example of {', '.join(missing)}: add some, or "
                "remove the class from the other splits"
            )
        if missing:
            notes.append(
                f"{split} holds no example of {', '.join(missing)}: its averages over classes "
                "leave them out"
            )
        labels = collections.defaultdict(set)
        for example in members:
            labels[example.digest].add(example.label)
        contradictory = sum(len(names) > 1 for names in labels.values())
        if contradictory:
            notes.append(f"{contradictory} pictures in {split} are there with different labels")
    train = collections.Counter(e.label for e in splits.get("train", ()))
    if train:
        name, count = train.most_common(1)[0]
        notes.append(f"most of train is {name}: {count} of {train.total()}")
    return notes


def check_images(
    files: Sequence[tuple[Path, str, str]], root: Path, value_range: Sequence[float]
) -> tuple[list, list[str]]:
    """Decodes every file once; (examples, notes).

    Args:
      files: (path, label, split).
      root: the data set.
      value_range: `data.range`.

    Raises:
      UserError: more than 1 % of the files cannot be read.
    """
    checked = checks.check_files([(str(path), "image") for path, _, _ in files], root, value_range)
    examples, problems = [], []
    for (path, label, split), outcome in zip(files, checked, strict=True):
        name = str(path.relative_to(root))
        if outcome.error:
            problems.append(f"{name}: {outcome.error}")
        else:
            size = min(outcome.height, outcome.width)
            examples.append(Example(name, str(path), label, split, outcome.digest, size))
    notes = checks.skip_problems(problems, len(files), str(root))
    return examples, notes + checks.range_notes(checked, value_range)
