"""Labels and masks of other data than a model was trained on, in its order: names decide."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxvision.errors import UserError
from jaxvision.input_pipeline.dataset import Dataset, fingerprint


class _Relabelled(NamedTuple):
    """Reads rows with their labels in another order; picklable."""

    read: Any
    numbers: tuple[int, ...]

    def __call__(self, row: int) -> dict[str, np.ndarray]:
        example = self.read(row)
        return {**example, "label": np.asarray(self.numbers[example["label"]], np.int32)}


class _Repainted(NamedTuple):
    """Reads rows with the classes of their masks in another order; other values stay; picklable."""

    read: Any
    numbers: tuple[int, ...]

    def __call__(self, row: int) -> dict[str, np.ndarray]:
        example = self.read(row)
        table = np.arange(256, dtype=np.uint8)
        table[: len(self.numbers)] = self.numbers
        return {**example, "mask": table[example["mask"]]}


def match_classes(dataset: Dataset, classes: Sequence[str]) -> Dataset:
    """The data set with its labels as numbers of `classes`; it may have some of them only.

    Raises:
      UserError: it has a class that is not among them.
    """
    return _match(dataset, classes, _Relabelled)


def match_masks(dataset: Dataset, classes: Sequence[str]) -> Dataset:
    """As `match_classes`, for masks of classes."""
    return _match(dataset, classes, _Repainted)


def _match(dataset: Dataset, classes: Sequence[str], reader: Any) -> Dataset:
    theirs = dataset.info["classes"]
    unknown = [name for name in theirs if name not in classes]
    if unknown:
        raise UserError(
            f"{dataset.source} has class {', '.join(unknown)}, which the model does not know; it "
            f"knows {', '.join(classes)}"
        )
    if list(theirs) == list(classes):
        return dataset
    numbers = tuple(list(classes).index(name) for name in theirs)
    splits = {
        name: split._replace(read=reader(split.read, numbers))
        for name, split in dataset.splits.items()
    }
    missing = [name for name in classes if name not in theirs]
    notes = [f"no class {', '.join(missing)}, which the model knows"] if missing else []
    key = fingerprint([dataset.fingerprint, *numbers])
    return dataset._replace(splits=splits, notes=[*dataset.notes, *notes], fingerprint=key)
