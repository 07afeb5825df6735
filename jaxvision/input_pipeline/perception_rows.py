"""Scored photos and votes as the rows that a network is trained and judged on."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxvision import score_scale
from jaxvision.errors import UserError
from jaxvision.input_pipeline import votes as votes_lib
from jaxvision.input_pipeline.composite import Composite
from jaxvision.input_pipeline.dataset import Dataset, Split, fingerprint


class Photos(NamedTuple):
    """All photos of a data set, N of them, in one order.

    Attributes:
      names: unique.
      image: image(i) is photo i, uint8 [S, S, 3]; picklable.
      size: S, pixels.
      version: changes when what `image` gives does.
      scores: float32 [N, A], as the user gave them; NaN where missing.
      places: float32 [N, 2], latitude and longitude in degrees, NaN where unknown.
      splits: {split: int32 numbers of its photos}.
      votes: {split: int32 [V, 4]}: left and right (rows of the split), attribute, choice; {} where
        the data set has no votes.
    """

    names: Sequence[str]
    image: Callable[[int], np.ndarray]
    size: int
    version: str
    scores: np.ndarray
    places: np.ndarray
    splits: dict[str, np.ndarray]
    votes: dict[str, np.ndarray]


class PhotoReader(NamedTuple):
    """Row i is photo numbers[i], with its entries of `columns` ({name: array [rows, ...]})."""

    image: Callable[[int], np.ndarray]
    numbers: np.ndarray
    columns: dict[str, np.ndarray]

    def __call__(self, row: int) -> dict[str, np.ndarray]:
        own = {name: column[row] for name, column in self.columns.items()}
        return {"image": self.image(int(self.numbers[row])), **own}


def choose_attributes(found: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[str, ...]:
    """The attributes to use: those wanted, or all that were found.

    Raises:
      UserError: one that is wanted was not found.
    """
    missing = [name for name in wanted if name not in found]
    if missing:
        raise UserError(
            f"data.attributes: there is no {', '.join(missing)}; the data has {', '.join(found)}"
        )
    return wanted or found


def make_dataset(
    config: ConfigDict,
    photos: Photos,
    attributes: Sequence[str],
    source: str,
    notes: Sequence[str],
) -> Dataset:
    """The data set of a config.

    Rows of a split are {'image': uint8 [S, S, 3], 'score': float32 [A] (as the user gave it, NaN
    where missing), 'number': int32, 'place': float32 [2]}, and 'ballots', int32 [K, 3], where there
    are votes. Where `loss.votes` is set, what is trained on are pairs of photos: {'image': uint8
    [2, S, S, 3], 'score': float32 [2, A], 'votes': float32 [A, 3]}, how often the first, the second
    and neither was chosen.

    Raises:
      UserError: nothing to train on; scores that are all the same.
    """
    splits = {split: numbers for split, numbers in photos.splits.items() if len(numbers)}
    none = np.zeros((0, 4), np.int32)
    votes = {split: photos.votes.get(split, none) for split in splits}
    ballots = {s: votes_lib.ballots(votes[s], splits[s]) for s in splits if photos.votes}
    widest = max((array.shape[1] for array in ballots.values()), default=0)
    made = {}
    for split, numbers in splits.items():
        columns = {
            "score": photos.scores[numbers],
            "number": numbers.astype(np.int32),
            "place": photos.places[numbers],
        }
        if split in ballots:
            fill = ((0, 0), (0, widest - ballots[split].shape[1]), (0, 0))
            columns["ballots"] = np.pad(ballots[split], fill, constant_values=-1)
        reader = PhotoReader(photos.image, numbers, columns)
        made[split] = Split([photos.names[i] for i in numbers], reader, len(numbers))
    # Without a training split there is nothing to scale by; a trained model brings its own scale.
    info, training, notes = {"attributes": list(attributes)}, None, list(notes)
    if "train" in splits:
        scores = photos.scores[splits["train"]]
        scale = score_scale.measure_scale(scores, tuple(attributes), config.data.target)
        shares = {s: _shares(score_scale.to_target(scale, photos.scores[splits[s]])) for s in made}
        info = {**score_scale.to_info(scale), "shares": shares, "image_size": photos.size}
        training = _training(config, made["train"], votes["train"], scale, notes)
    key = [photos.version, config.data.target, photos.scores.tobytes()]
    key += [table.tobytes() for table in votes.values()]
    key += [number for numbers in splits.values() for number in (*numbers, "|")]
    return Dataset(source, made, notes, info, fingerprint(key), training)


def _shares(targets: np.ndarray) -> list[list[float]]:
    """The share of a split's targets in each tenth of [1, 10], one list an attribute."""
    found = []
    for column in targets.T:
        column = column[np.isfinite(column)]
        counts, _ = np.histogram(np.clip(column, 1, 10), bins=10, range=(1, 10))
        found.append((counts / max(len(column), 1)).round(4).tolist())
    return found


def _training(
    config: ConfigDict,
    train: Split,
    votes: np.ndarray,
    scale: score_scale.Scale,
    notes: list[str],
) -> Split | None:
    """Pairs, or photos repeated, where the config asks for them; None: the split as it stands."""
    columns = {"score": train.read.columns["score"]}
    pool = train._replace(read=train.read._replace(columns=columns))
    if config.loss.votes > 0:
        if config.data.oversample:
            raise UserError(
                "data.oversample repeats photos, and loss.votes trains on pairs: drop one of them"
            )
        return _pair_split(pool, votes, len(scale.attributes), notes)
    if config.data.oversample:
        rows = oversampled(columns["score"], scale, config.data.oversample)
        notes.append(f"oversampled to {len(rows)} rows by {config.data.oversample!r}")
        names = [f"{train.names[row]}_{i}" for i, row in enumerate(rows)]
        return Split(names, Composite(pool, rows.astype(np.int32), {}), train.examples)
    return None


def _pair_split(pool: Split, table: np.ndarray, attributes: int, notes: list[str]) -> Split:
    """The pairs that were voted on, from votes int32 [V, 4] between rows of the pool."""
    if not len(table):
        raise UserError(
            "loss.votes is set, but there are no votes between training photos: give votes.csv "
            "(left,right,choice,attribute), or set loss.votes=0"
        )
    pairs, votes = votes_lib.pairs(table, attributes)
    alone = pool.examples - len(np.unique(pairs))
    if alone:
        notes.append(f"{alone} of {pool.examples} training photos are in no vote: not trained on")
    notes.append(f"training on {len(table)} votes between {len(pairs)} pairs of photos")
    names = [f"{pool.names[left]}|{pool.names[right]}" for left, right in pairs]
    return Split(names, Composite(pool, pairs, {"votes": votes}), pool.examples)


def oversampled(scores: np.ndarray, scale: score_scale.Scale, attribute: str) -> np.ndarray:
    """Rows, some repeatedly, so that every tenth of the range of an attribute has as many.

    Args:
      scores: float32 [N, A], raw.
      scale: of the training split.
      attribute: in the scale's.

    Returns:
      int [M]; photos without this score are left out.
    """
    if attribute not in scale.attributes:
        raise UserError(
            f"data.oversample={attribute!r} is no attribute: use one of "
            f"{', '.join(scale.attributes)}, or ''"
        )
    column = scores[:, scale.attributes.index(attribute)]
    low, high = np.nanmin(column), np.nanmax(column)
    tenth = np.minimum((column - low) / (high - low) * 10, 9)
    groups = [np.flatnonzero(np.floor(tenth) == i) for i in range(10)]  # NaN is in none
    most = max(len(group) for group in groups)
    return np.concatenate([np.resize(group, most) for group in groups if len(group)])
