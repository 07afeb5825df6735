"""Scores of other data than a model was trained on, in the model's order: names decide."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxvision.errors import UserError
from jaxvision.input_pipeline.dataset import Dataset, fingerprint


class _Reordered(NamedTuple):
    """Reads rows with their attributes as the model has them; picklable.

    Attributes:
      read: of the split.
      theirs: for each of the model's attributes, its number in the data; -1: it is not there.
    """

    read: Any
    theirs: tuple[int, ...]

    def __call__(self, row: int) -> dict[str, np.ndarray]:
        example = self.read(row)
        score = np.append(example["score"], np.float32(np.nan))  # what -1 takes
        example = {**example, "score": score[list(self.theirs)]}
        if "ballots" in example:
            example["ballots"] = self._ballots(example["ballots"])
        return example

    def _ballots(self, ballots: np.ndarray) -> np.ndarray:
        """int [K, 3]: the other photo, the attribute, the choice; -1 fills up."""
        ours = {number: i for i, number in enumerate(self.theirs) if number >= 0}
        attribute = np.array([ours.get(number, -1) for number in ballots[:, 1].tolist()], int)
        matched = ballots.copy()
        matched[:, 1] = attribute
        matched[attribute < 0] = -1
        return matched


def match_attributes(dataset: Dataset, attributes: Sequence[str]) -> Dataset:
    """The data set with the model's attributes in its order; scores that it lacks are missing.

    Raises:
      UserError: it has none of them.
    """
    theirs = list(dataset.info["attributes"])
    if theirs == list(attributes):
        return dataset
    common = [name for name in attributes if name in theirs]
    if not common:
        raise UserError(
            f"{dataset.source} scores {', '.join(theirs)}, none of which the model knows; it knows "
            f"{', '.join(attributes)}"
        )
    missing = [name for name in attributes if name not in theirs]
    extra = [name for name in theirs if name not in attributes]
    notes = [
        f"{what}: {', '.join(names)}"
        for what, names in (
            ("not scored here, so not judged", missing),
            ("scored here, but not known to the model", extra),
        )
        if names
    ]
    numbers = tuple(theirs.index(name) if name in theirs else -1 for name in attributes)
    splits = {
        name: split._replace(read=_Reordered(split.read, numbers))
        for name, split in dataset.splits.items()
    }
    key = fingerprint([dataset.fingerprint, *attributes])
    return dataset._replace(splits=splits, notes=[*dataset.notes, *notes], fingerprint=key)
