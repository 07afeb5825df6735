"""Votes between pairs of photos: read from a file, and dealt out to the splits of a data set."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxvision.errors import UserError
from jaxvision.input_pipeline.readers.perception.files import STUDIES, parse_name
from jaxvision.input_pipeline.readers.perception.tables import read_table

CHOICES = ("left", "right", "equal")
# What says which attribute was asked for, in the order of preference.
ASKED = ("study_id", "attribute", "study_question")


class Votes(NamedTuple):
    """A file of votes.

    Attributes:
      names: of the photos, as the file calls them.
      attributes: what was asked for.
      table: int32 [V, 4]: left and right (places in `names`), attribute, choice (in CHOICES).
      cities: {photo: city} where the file says it.
      notes: for the log.
    """

    names: list[str]
    attributes: tuple[str, ...]
    table: np.ndarray
    cities: dict[str, str]
    notes: list[str]


def read_votes(path: Path) -> Votes:
    """Reads `left,right,choice` and what was asked, as in Place Pulse's votes.

    Raises:
      UserError: columns are missing, nothing says what was asked, or no vote can be used.
    """
    names, attributes, cities, table = {}, {}, {}, []
    wrong, asked = [], None
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    for number, row in read_table(path, ("left", "right", "choice"), delimiter):
        asked = asked or next((name for name in ASKED if name in row), None)
        if asked is None:
            raise UserError(f"{path} has no column {', '.join(ASKED)} to say what was voted on")
        left, right, choice = row["left"], row["right"], row["choice"].lower()
        if choice not in CHOICES or not left or left == right:
            wrong.append(f"row {number}: {choice!r} between {left!r} and {right!r}")
            continue
        attribute = STUDIES.get(row[asked], row[asked])
        places = [names.setdefault(name, len(names)) for name in (left, right)]
        asked_place = attributes.setdefault(attribute, len(attributes))
        table.append((*places, asked_place, CHOICES.index(choice)))
        for side in ("left", "right"):
            if city := row.get(f"place_name_{side}"):
                cities[row[side]] = city
    if not table:
        raise UserError(
            f"{path}: no vote can be used: {'; '.join(wrong[:3])}; a choice is left, right or "
            "equal, between two photos"
        )
    notes = []
    if wrong:
        total = len(wrong) + len(table)
        notes.append(
            f"left out {len(wrong)} of {total} votes in {path.name}, whose choice is none of left, "
            f"right and equal or whose photos are not two: {'; '.join(wrong[:3])}"
        )
    unknown = [name for name in attributes if name not in STUDIES.values()]
    if asked == "study_id" and unknown:
        notes.append(
            f"{len(unknown)} study ids in {path.name} are none of Place Pulse's, and are taken as "
            f"attributes: {', '.join(unknown[:5])}"
        )
    return Votes(list(names), tuple(attributes), np.array(table, np.int32), cities, notes)


def split_votes_of(
    votes: Votes, splits: dict[str, Sequence[str]], attributes: Sequence[str]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The votes inside each split; those across two splits would leak and are dropped.

    Args:
      votes: all of them.
      splits: {split: names of its photos}.
      attributes: what the data set has scores of; votes on others are dropped.

    Returns:
      {split: int32 [V, 4]}, as Votes.table but with rows of the split and places in `attributes`;
      and notes that count what was dropped.
    """
    split_of, row_of = (np.full(len(votes.names), -1, np.int32) for _ in range(2))
    known = {
        name: (s, r) for s, names in enumerate(splits.values()) for r, name in enumerate(names)
    }
    for i, name in enumerate(votes.names):
        # Votes of one's own may call a photo by its file name.
        inside = known.get(name) or known.get(parse_name(Path(name).stem)[0])
        if inside:
            split_of[i], row_of[i] = inside
    asked = np.array([_place(attributes, name) for name in votes.attributes], np.int32)
    left, right, attribute, choice = votes.table.T
    unknown = (split_of[left] < 0) | (split_of[right] < 0)
    other = ~unknown & (asked[attribute] < 0)
    across = ~unknown & ~other & (split_of[left] != split_of[right])
    absent = [name for name, split in zip(votes.names, split_of, strict=True) if split < 0]
    unasked = [name for name in votes.attributes if name not in attributes]
    notes = [
        f"dropped {count.sum()} of {len(left)} votes: {why}"
        for count, why in (
            (unknown, f"{len(absent)} photos they name are not in the data ({_shown(absent)})"),
            (other, f"on attributes that are not used ({_shown(unasked)})"),
            (across, "the two photos are in different splits"),
        )
        if count.any()
    ]
    keep = ~(unknown | other | across)
    split_votes = {}
    for s, split in enumerate(splits):
        own = keep & (split_of[left] == s)
        columns = (row_of[left], row_of[right], asked[attribute], choice)
        split_votes[split] = np.stack([column[own] for column in columns], axis=1)  # [V, 4]
    return split_votes, notes


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _place(names: Sequence[str], name: str) -> int:
    return names.index(name) if name in names else -1


def pairs(table: np.ndarray, attributes: int) -> tuple[np.ndarray, np.ndarray]:
    """Votes added up by pair of photos.

    Args:
      table: int32 [V, 4] of one split.
      attributes: how many there are.

    Returns:
      int32 [P, 2], the two photos' rows, the smaller first; and float32 [P, attributes, 3], how
      often the first, the second and neither was chosen.
    """
    left, right, attribute, choice = table.T
    swapped = left > right
    ends = np.stack([np.minimum(left, right), np.maximum(left, right)], axis=1)
    choice = np.where(swapped & (choice < 2), 1 - choice, choice)
    counted, pair = np.unique(ends, axis=0, return_inverse=True)
    counts = np.zeros((len(counted), attributes, 3), np.float32)
    np.add.at(counts, (pair.ravel(), attribute, choice), 1)
    return counted.astype(np.int32), counts


def ballots(table: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Votes as something that each photo's row carries, so that evaluation meets them all.

    Args:
      table: int32 [V, 4] of one split.
      numbers: int32 [N], of the split's photos among those of all splits.

    Returns:
      int32 [N, K, 3]: the other photo's number, the attribute and the choice (from this photo
      as the left one) of each vote; -1 fills up.
    """
    order = np.argsort(table[:, 0], kind="stable")
    rows, others = table[order, 0], table[order, 1:]
    others[:, 0] = numbers[others[:, 0]]
    counts = np.bincount(rows, minlength=len(numbers))
    place = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    filled = np.full((len(numbers), max(int(counts.max(initial=0)), 1), 3), -1, np.int32)
    filled[rows, place] = others
    return filled
