"""The user's own street photos with scores or votes, for perception.

    streets/qscores.tsv  streets/images/<lat>_<lon>_<id>_<city>.jpg  [streets/votes.csv]
        Place Pulse 2.0: location_id,study_id,trueskill.score; votes: left,right,study_id,choice
    streets/scores.csv   streets/images/...                          [streets/votes.csv]
        file,<attribute>,...[,city][,lat][,lon][,split]; or give the csv itself
    streets/votes.csv    streets/images/...
        votes alone: the scores are ratings that follow from them

The middle square of each photo is brought to `data.image_size` pixels.
"""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from jaxvision.errors import UserError
from jaxvision.input_pipeline import checks, images
from jaxvision.input_pipeline.dataset import SPLITS, Dataset, hash_split, unit_hash
from jaxvision.input_pipeline.readers.perception import ratings
from jaxvision.input_pipeline.readers.perception import votes as votes_lib
from jaxvision.input_pipeline.readers.perception.files import (
    Listing,
    Photo,
    attribute_matrix,
    list_photos,
)
from jaxvision.input_pipeline.readers.perception.rows import Photos, choose_attributes, make_dataset

IMAGE_SIZE = 256  # where data.image_size is 0


def load(config: ConfigDict) -> Dataset:
    """Reads config.data.path; `perception_rows.make_dataset` says what the rows are.

    Raises:
      UserError: the path or what it holds cannot be used; more than 1 % of the photos cannot.
    """
    path = Path(config.data.path).expanduser()
    listing = list_photos(path)
    votes = votes_lib.read_votes(listing.votes) if listing.votes else None
    notes = [*listing.notes, *(votes.notes if votes else [])]
    value_range = tuple(config.data.range)
    photos, digests = _usable(listing, path, notes, value_range)
    if votes:
        cities = votes.cities
        photos = [p._replace(city=p.city or cities.get(p.name, "")) for p in photos]
    splits, method = assign_splits(photos, config.data)
    kept, dropped = checks.drop_duplicates(
        {split: [digests[i] for i in numbers] for split, numbers in splits.items()}
    )
    splits = {split: [splits[split][i] for i in kept[split]] for split in splits}
    notes += dropped
    scored = listing.attributes or votes.attributes
    attributes = choose_attributes(scored, tuple(config.data.attributes))
    split_votes = {}
    if votes:
        names = {split: [photos[i].name for i in numbers] for split, numbers in splits.items()}
        split_votes, counts = votes_lib.split_votes_of(votes, names, attributes)
        notes += counts
    if listing.attributes:
        scores = attribute_matrix(photos, len(scored))[:, [scored.index(a) for a in attributes]]
    else:
        scores = _scores_from_votes(splits, split_votes, len(photos), len(attributes))
        notes.append("the scores are ratings that follow from the votes of each split")
    size = config.data.image_size or IMAGE_SIZE
    return make_dataset(
        config,
        Photos(
            names=[photo.name for photo in photos],
            image=functools.partial(_read, [photo.path for photo in photos], size, value_range),
            size=size,
            version=f"perception 2 {size} {' '.join(digests)}",
            scores=scores,
            places=np.array([photo.place for photo in photos], np.float32),
            splits={split: np.array(numbers, np.int32) for split, numbers in splits.items()},
            votes=split_votes,
        ),
        attributes,
        f"{path} ({method})",
        notes,
    )


def _read(paths: Sequence[str], size: int, value_range: tuple[float, ...], i: int) -> np.ndarray:
    return images.decode_square(paths[i], size, value_range)


def _usable(
    listing: Listing, path: Path, notes: list[str], value_range: tuple[float, ...]
) -> tuple[list[Photo], list[str]]:
    """The photos that decode, and a hash of each one's pixels; adds to `notes` what was skipped."""
    files = [(photo.path, "image") for photo in listing.photos]
    checked = checks.check_files(files, path, value_range)
    notes += checks.range_notes(checked, value_range)
    problems, photos, digests = list(listing.problems), [], []
    for photo, check in zip(listing.photos, checked, strict=True):
        if check.error:
            problems.append(f"{photo.label}: {check.error}")
            continue
        photos.append(photo)
        digests.append(check.digest)
    total = len(listing.photos) + len(listing.problems)
    notes += checks.skip_problems(problems, total, str(path))
    if not photos:
        raise UserError(f"{path}: none of the scored photos is there")
    return photos, digests


def _scores_from_votes(
    splits: dict[str, list[int]], split_votes: dict[str, np.ndarray], photos: int, attributes: int
) -> np.ndarray:
    """Ratings float32 [photos, attributes], each from the votes of its own split alone."""
    scores = np.full((photos, attributes), np.nan, np.float32)
    for split, numbers in splits.items():
        scores[numbers], _ = ratings.rank_votes(split_votes[split], len(numbers), attributes)
    return scores


def assign_splits(photos: Sequence[Photo], options: ConfigDict) -> tuple[dict[str, list[int]], str]:
    """{split: numbers of its photos}, and how they were split, in words.

    Args:
      photos: all of them.
      options: `split`, `fractions`, `test_cities`, `folds` and `fold` of the config's data.

    Raises:
      UserError: options that contradict each other or the photos.
    """
    splits = {split: [] for split in SPLITS}
    fractions = {split: options.fractions[split] for split in SPLITS}
    if any(photo.split for photo in photos):
        missing = [photo.label for photo in photos if not photo.split]
        if missing:
            raise UserError(
                f"{len(missing)} photos have no split, {missing[0]} first: give all one"
            )
        if options.folds or options.split == "city":
            raise UserError(
                "the photos have splits of their own (a column split, or folders), so data.folds "
                "and data.split=city would have no effect: leave them out"
            )
        for i, photo in enumerate(photos):
            splits[photo.split].append(i)
        return splits, "splits of its own: the column split, or folders"
    if options.folds:
        return _fold(photos, splits, fractions["val"], options.folds, options.fold)
    if options.split == "city":
        return _by_city(photos, splits, fractions, tuple(options.test_cities))
    for i, photo in enumerate(photos):
        splits[hash_split(photo.name, fractions)].append(i)
    for split in ("train", "val"):  # the hash may leave one empty where there are few photos
        largest = max(splits.values(), key=len)
        if not splits[split] and len(largest) > 1:
            moved = min(largest, key=lambda i: unit_hash(photos[i].name))
            largest.remove(moved)
            splits[split].append(moved)
    listed = ", ".join(f"{name} {part:g}" for name, part in fractions.items())
    return splits, f"split by name: {listed}"


def _fold(photos, splits, val, folds, fold):
    """Test: a part of `folds` equal parts of the hash. Val: of the others, by another hash."""
    for i, photo in enumerate(photos):
        if int(unit_hash(photo.name) * folds) == fold:
            splits["test"].append(i)
        else:
            splits["val" if unit_hash(f"val {photo.name}") < val else "train"].append(i)
    return splits, f"fold {fold} of {folds} by name"


def _by_city(photos, splits, fractions, test_cities):
    """Whole cities, in the order of their hashes, each to the split that lacks most photos."""
    cities = {}
    for i, photo in enumerate(photos):
        cities.setdefault(photo.city, []).append(i)
    if "" in cities:
        raise UserError(
            f"data.split=city: the city of {len(cities[''])} photos is not known, "
            f"{photos[cities[''][0]].label} first; name them lat_lon_id_city, or add a column city"
        )
    unknown = [city for city in test_cities if city not in cities]
    if unknown:
        raise UserError(
            f"data.test_cities: no photo is from {', '.join(unknown)}; there are "
            f"{', '.join(sorted(cities)[:8])}"
        )
    if len(cities) - len(test_cities) < (2 if test_cities else 3):
        raise UserError(
            f"data.split=city: {len(cities)} cities, {len(test_cities)} of them for test, leave "
            "none for train or val; it takes one for each"
        )
    wanted = {split: share * len(photos) for split, share in fractions.items()}
    for city in test_cities:
        splits["test"] += cities[city]
    others = sorted(cities.keys() - set(test_cities), key=unit_hash)
    # Where the test cities were named, the test split is closed to others.
    open_to = ("train", "val") if test_cities else SPLITS
    for i, city in enumerate(others):
        empty = [split for split in open_to if not splits[split]]
        last = len(others) - i <= len(empty)  # one city for each split that has none
        split = max(empty if last else open_to, key=lambda s: wanted[s] - len(splits[s]))
        splits[split] += cities[city]
    return splits, f"split by city, of {len(cities)}"
