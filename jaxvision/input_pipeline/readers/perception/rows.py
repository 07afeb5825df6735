"""Scored photos and votes as the rows that a network is trained and judged on."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxvision.errors import UserError
from jaxvision.input_pipeline import score_scale
from jaxvision.input_pipeline.composite import Composite
from jaxvision.input_pipeline.dataset import Dataset, Split, fingerprint
from jaxvision.input_pipeline.readers.perception import votes as votes_lib


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


def choose_attributes(available: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[str, ...]:
    """The attributes to use: those wanted, or all that were found.

    Raises:
      UserError: one that is wanted was not found.
    """
    missing = [name for name in wanted if name not in available]
    if missing:
        raise UserError(
            f"data.attributes: there is no {', '.join(missing)}; the data has "
            f"{', '.join(available)}"
        )
    return wanted or available


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
    readable = {}
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
        readable[split] = Split([photos.names[i] for i in numbers], reader, len(numbers))
    # Without a training split there is nothing to scale by; a trained model brings its own scale.
    info, training, notes = {"attributes": list(attributes)}, None, list(notes)
    if "train" in splits:
        scores = photos.scores[splits["train"]]
        scale = score_scale.measure_scale(scores, tuple(attributes), config.data.target)
        shares = {
            s: _shares(score_scale.to_target(scale, photos.scores[splits[s]])) for s in readable
        }
        info = {**score_scale.to_info(scale), "shares": shares, "image_size": photos.size}
        if config.data.oversample:
            readable["train"] = _drawn_evenly(config, readable["train"], scale, notes)
        if config.loss.votes > 0:
            training = _pair_split(readable["train"], votes["train"], len(attributes), notes)
    key = [photos.version, config.data.target, *attributes, photos.scores.tobytes()]
    key += [photos.places.tobytes(), *(table.tobytes() for table in votes.values())]
    key += [number for numbers in splits.values() for number in (*numbers, "|")]
    return Dataset(source, readable, notes, info, fingerprint(key), training)


def _shares(targets: np.ndarray) -> list[list[float]]:
    """The share of a split's targets in each tenth of [1, 10], one list an attribute."""
    shares = []
    for column in targets.T:
        column = column[np.isfinite(column)]
        counts, _ = np.histogram(np.clip(column, 1, 10), bins=10, range=(1, 10))
        shares.append((counts / max(len(column), 1)).round(4).tolist())
    return shares


def _drawn_evenly(
    config: ConfigDict, train: Split, scale: score_scale.Scale, notes: list[str]
) -> Split:
    """The split, every tenth of the range of data.oversample drawn equally often."""
    weights = even_tenths(train.read.columns["score"], scale, config.data.oversample)
    notes.append(
        f"each tenth of the range of {config.data.oversample!r} is drawn equally often; "
        f"{np.count_nonzero(weights == 0)} training photos without that score are not drawn"
    )
    return train._replace(weights=weights.tobytes())


def _pair_split(train: Split, table: np.ndarray, attributes: int, notes: list[str]) -> Split:
    """The pairs that were voted on, from votes int32 [V, 4] between rows of train."""
    if not len(table):
        raise UserError(
            "loss.votes is set, but there are no votes between training photos: give votes.csv "
            "(left,right,choice,attribute), or set loss.votes=0"
        )
    pairs, votes = votes_lib.pairs(table, attributes)
    alone = train.examples - len(np.unique(pairs))
    if alone:
        notes.append(f"{alone} of {train.examples} training photos are in no vote: not trained on")
    notes.append(f"training on {len(table)} votes between {len(pairs)} pairs of photos")
    names = [f"{train.names[left]}|{train.names[right]}" for left, right in pairs]
    pool = train._replace(read=train.read._replace(columns={"score": train.read.columns["score"]}))
    return Split(names, Composite(pool, pairs, {"votes": votes}), train.examples)


def even_tenths(scores: np.ndarray, scale: score_scale.Scale, attribute: str) -> np.ndarray:
    """`Split.weights` with which every tenth of the range of an attribute is drawn equally often.

    Args:
      scores: float32 [N, A], raw.
      scale: of the training split.
      attribute: in the scale's.

    Returns:
      float32 [N]; 0 for photos without this score.
    """
    if attribute not in scale.attributes:
        raise UserError(
            f"data.oversample={attribute!r} is no attribute: use one of "
            f"{', '.join(scale.attributes)}, or ''"
        )
    column = scores[:, scale.attributes.index(attribute)]
    known = np.isfinite(column)
    low, high = column[known].min(), column[known].max()
    tenth = np.minimum((column[known] - low) / (high - low) * 10, 9).astype(int)
    weights = np.zeros(len(column), np.float32)
    weights[known] = 1 / np.bincount(tenth)[tenth]
    return weights
