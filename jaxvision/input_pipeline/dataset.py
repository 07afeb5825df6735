"""What a data set is to the rest of the code: named splits of examples that decode one by one.

A reader in this folder is a function `load(config) -> Dataset`. Both data paths (resident and
streaming, `loader.py`) use nothing else, so a reader never knows which one feeds the model.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

SPLITS = ("train", "val", "test")
VAL_FRACTION = 0.1


class Split(NamedTuple):
    """The examples of one split.

    Attributes:
      names: one name a row, unique, for messages and figures. A large image cut into tiles gives
        several rows.
      read: decodes row i into {name: array}; every row has the same names, shapes and dtypes
        (images as uint8 [H, W, C]). Picklable, so that worker processes can run it.
      examples: how many distinct examples (files) the rows come from.
      weights: how often training draws each row, relative to the others: float32 [rows] as bytes
        (which can be hashed, and are passed on to processes, as they are); b'': all alike.
      sizes: the shorter side of the picture that each row was made of, pixels; (): not known.
    """

    names: Sequence[str]
    read: Callable[[int], dict[str, np.ndarray]]
    examples: int
    weights: bytes = b""
    sizes: tuple[int, ...] = ()


class Dataset(NamedTuple):
    """Splits that never share an example.

    Attributes:
      source: one line for the log: where the data comes from.
      splits: 'train', 'val', 'test', each present only if it holds examples.
      notes: one line each for the log: what was skipped, dropped or unusual, with counts.
      info: JSON-able facts the model depends on (class names, keypoint names); kept with it.
      fingerprint: changes when the examples change; also the key of the decoded cache.
      training: what is trained on, where that is not splits['train'] as it stands but pairs of its
        examples, say. Evaluation never reads it.
    """

    source: str
    splits: dict[str, Split]
    notes: Sequence[str]
    info: dict[str, Any]
    fingerprint: str
    training: Split | None = None


def training_split(dataset: Dataset) -> Split:
    """The rows to train on."""
    return dataset.training or dataset.splits["train"]


def unit_hash(key: str) -> float:
    """A number in [0, 1) that depends on `key` alone (not on the machine or the order of files)."""
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def hash_split(key: str, fractions: dict[str, float]) -> str:
    """The split that `key` (a file name, or a group: city, scene, animal) belongs to.

    Args:
      key: what must stay on one side of a split.
      fractions: {split: share}, in order; the shares add up to 1.
    """
    position, edge = unit_hash(key), 0.0
    for split, fraction in fractions.items():
        edge += fraction
        if position < edge:
            return split
    return split


def fingerprint(parts: Sequence[Any]) -> str:
    """A short hash of the parts' text; equal parts give an equal fingerprint in every process."""
    return hashlib.sha256("\n".join(str(part) for part in parts).encode()).hexdigest()[:16]
