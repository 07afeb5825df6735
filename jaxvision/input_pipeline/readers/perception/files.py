"""Which photo has which scores: read from Place Pulse 2.0 or from a csv, nothing decoded yet."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxvision.errors import UserError
from jaxvision.input_pipeline import folders, images
from jaxvision.input_pipeline.folders import SPLIT_NAMES
from jaxvision.input_pipeline.place_names import parse_name
from jaxvision.input_pipeline.readers.perception.tables import (
    OTHER_NAMES,
    Scores,
    parse_score,
    read_table,
    score_columns,
)

# The questions of Place Pulse 2.0 (Dubey et al. 2016, arXiv 1608.01769).
STUDIES = {
    "50a68a51fdc9f05596000002": "safe",
    "50f62c41a84ea7c5fdd2e454": "lively",
    "50f62c68a84ea7c5fdd2e456": "boring",
    "50f62cb7a84ea7c5fdd2e458": "wealthy",
    "50f62ccfa84ea7c5fdd2e459": "depressing",
    "5217c351ad93a7d3e7b07a64": "beautiful",
}
VOTES = ("votes.csv", "votes.tsv")
SCORE_COLUMNS = ("trueskill.score", "trueskill_score")


class Photo(NamedTuple):
    """A photo and what is known of it.

    Attributes:
      name: unique; the id that votes and scores call it by, or its file name without extension.
      path: of the local file.
      label: what messages call it.
      city: where it was taken; '' where that is not known.
      place: latitude and longitude in degrees; NaN where they are not known.
      split: 'train', 'val', 'test', or '' where the user gave none.
      scores: one an attribute; NaN where there is none.
    """

    name: str
    path: str
    label: str
    city: str
    place: tuple[float, float]
    split: str
    scores: tuple[float, ...]


class Listing(NamedTuple):
    """Attributes:
    photos: that exist, as far as names tell.
    attributes: what the scores are of; () where there are only votes.
    problems: one line for each scored photo that has no file.
    notes: for the log.
    votes: the file of votes; None where there is none.
    """

    photos: list[Photo]
    attributes: tuple[str, ...]
    problems: list[str]
    notes: list[str]
    votes: Path | None


def list_photos(path: Path) -> Listing:
    """The photos of a folder or a csv.

    Raises:
      UserError: the path does not exist, is of another kind, holds no photos, or its scores
        cannot be read.
    """
    if not path.exists():
        raise UserError(f"data.path {path} does not exist; give a folder or a csv")
    if path.suffix.lower() == ".csv":
        return _list_csv(path)
    if not path.is_dir():
        raise UserError(f"data.path {path} is neither a folder nor a csv; give one of these")
    if (path / "qscores.tsv").exists():
        return _list_place_pulse(path)
    if (path / "scores.csv").exists():
        return _list_csv(path / "scores.csv")
    if _find_votes(path):
        listing, left = _find_photos(path)
        photos = [_photo(name, file, (), path) for name, file in listing.items()]
        return Listing(photos, (), [], left, _find_votes(path))
    raise UserError(
        f"{path} holds no qscores.tsv (Place Pulse 2.0), scores.csv (file,<attribute>,...) or "
        f"votes.csv; it has {', '.join(sorted(os.listdir(path))[:3]) or 'nothing'}"
    )


def _find_votes(folder: Path) -> Path | None:
    return next((folder / name for name in VOTES if (folder / name).exists()), None)


def _find_photos(root: Path) -> tuple[dict[str, Path], list[str]]:
    """{stem: path} of the photos in images/ (or where Place Pulse has them), else in the root.

    Those in folders that are called like a split count too. Also notes on what is left out.
    """
    inside = ("images", "gsv/final_photo_dataset", "final_photo_dataset")
    folder = next((root / name for name in inside if (root / name).is_dir()), root)
    level, seen = folders.read_folder(folder), {folder.resolve()}
    splits = folders.split_folders(level)
    levels = [folders.read_folder(place, seen) for place in splits]
    photos = folders.by_stem([p for one in (level, *levels) for p in one.pictures])
    if not photos:
        raise UserError(
            f"{folder} holds no photos ({', '.join(images.EXTENSIONS)}); put them there"
        )
    unused = [p for one in levels for p in (*one.folders, *one.others)]
    unused += [p for p in level.folders if p not in splits and folder != root]
    unused += [p for p in level.others if not (folder == root and p.suffix in (".csv", ".tsv"))]
    return photos, folders.left_out(unused, root)


def _photo(stem: str, file: Path, scores: Sequence[float], root: Path) -> Photo:
    name, place, city = parse_name(stem)
    return Photo(
        name, str(file), file.name, city, place, folders.split_of(file, root), tuple(scores)
    )


def _list_place_pulse(root: Path) -> Listing:
    """`qscores.tsv`: location_id, study_id and the score, one a line."""
    table = root / "qscores.tsv"
    scores, attributes = Scores(table), {}
    for number, row in read_table(table, ("location_id", "study_id"), "\t"):
        column = next((name for name in SCORE_COLUMNS if name in row), None)
        if column is None:
            raise UserError(f"{table} has no column {' or '.join(SCORE_COLUMNS)}")
        attribute = STUDIES.get(row["study_id"], row["study_id"])
        attributes[attribute] = None
        score = parse_score(row[column], f"{table} row {number}, {column}")
        scores.put(row["location_id"], attribute, score, number)
    names, photos, notes = tuple(attributes), [], scores.notes()
    unknown = [name for name in names if name not in STUDIES.values()]
    if unknown:
        notes.append(
            f"{len(unknown)} study ids in {table.name} are none of Place Pulse's, and are taken as "
            f"attributes: {', '.join(unknown[:5])}"
        )
    notes.append(f"attributes of {table.name}: {', '.join(names)}")
    unscored = []
    files, left = _find_photos(root)
    for stem, file in files.items():
        own = scores.table.pop(parse_name(stem)[0], None)
        if own:
            scored = [own.get(name, math.nan) for name in names]
            photos.append(_photo(stem, file, scored, root))
        else:
            unscored.append(file.name)
    notes += left + _unscored(unscored, table)
    problems = [
        f"{name}: {table.name} scores it, but there is no such photo" for name in scores.table
    ]
    _refuse_same_names(photos)
    return Listing(photos, names, problems, notes, _find_votes(root))


def _unscored(names: Sequence[str], table: Path) -> list[str]:
    if not names:
        return []
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return [f"left out {len(names)} photos that {table.name} has no score of: {shown}"]


def _list_csv(path: Path) -> Listing:
    """`file,<attribute>,...`; a cell that is empty or 'nan' is a score that is missing."""
    rows = [
        (number, {OTHER_NAMES.get(name.lower(), name): text for name, text in row.items()})
        for number, row in read_table(path, ("file",), ",")
    ]
    attributes, unused = score_columns(list(rows[0][1]), [row for _, row in rows])
    if not attributes:
        raise UserError(f"{path} has no column of scores beside {', '.join(rows[0][1])}")
    note = f"attributes of {path.name}: {', '.join(attributes)}"
    if unused:
        note += f"; columns not used: {', '.join(name or '(no name)' for name in unused)}"
    scores, first = Scores(path), {}
    for number, row in rows:
        if not row["file"]:
            raise UserError(f"{path} row {number}: no file is given")
        first.setdefault(row["file"], row)
        for name in attributes:
            score = parse_score(row[name], f"{path} row {number}, {name}")
            scores.put(row["file"], name, score, number)
    files = _Files(path.parent)
    photos, problems = [], []
    for file, row in first.items():
        photo_file = files.find(file)
        if photo_file is None:
            problems.append(f"{file}: {path.name} scores it, but there is no such photo")
            continue
        own = [scores.table[file][name] for name in attributes]
        photo = _photo(photo_file.stem, photo_file, own, path.parent)
        photos.append(photo._replace(**_given(row, photo, path)))
    _refuse_same_names(photos)
    named = {photo.path for photo in photos}
    notes = [note, *scores.notes()]
    notes += _unscored([p.name for p in files.pictures if str(p) not in named], path)
    return Listing(photos, tuple(attributes), problems, notes, _find_votes(path.parent))


def _given(row: dict[str, str], photo: Photo, path: Path) -> dict:
    """City, place and split of a csv row, where it has these columns."""
    text = row.get("split", "").lower()
    if text and text not in SPLIT_NAMES:
        raise UserError(f"{path}: {row['file']} has split {text!r}, not train, val or test")
    split = SPLIT_NAMES.get(text, photo.split)
    if photo.split and split != photo.split:
        raise UserError(
            f"{path}: {row['file']} has split {text!r}, but lies in a folder of {photo.split}: "
            "make them agree"
        )
    place = photo.place
    if row.get("lat") and row.get("lon"):
        place = tuple(parse_score(row[name], f"{path}, {name}") for name in ("lat", "lon"))
    return {"city": row.get("city") or photo.city, "place": place, "split": split}


class _Files:
    """Finds what a csv calls a file: from the csv's folder or its images/, extension optional.

    Folders in these that are called like a split are looked into as well.
    """

    def __init__(self, folder: Path):
        self.folders, self.pictures, seen = [], [], set()
        for place in (folder, folder / "images"):
            if place.is_dir():
                level = folders.read_folder(place, seen)
                inner = [folders.read_folder(p, seen) for p in folders.split_folders(level)]
                self.folders += [level.path, *(one.path for one in inner)]
                self.pictures += [p for one in (level, *inner) for p in one.pictures]
        self.stems = {p.stem: p for p in reversed(self.pictures)}

    def find(self, text: str) -> Path | None:
        for folder in self.folders:
            path = folder / Path(text).expanduser()
            if path.is_file():
                return path
        return None if Path(text).suffix.lower() in images.EXTENSIONS else self.stems.get(text)


def _refuse_same_names(photos: Sequence[Photo]) -> None:
    names, twice = set(), []
    for photo in photos:
        (twice.append if photo.name in names else names.add)(photo.name)
    if twice:
        raise UserError(
            f"{len(twice)} photos have the name of another, {twice[0]!r} first: names without "
            "folder and extension must differ"
        )


def attribute_matrix(photos: Sequence[Photo], count: int) -> np.ndarray:
    """The photos' scores, float32 [N, count]; NaN where missing."""
    return np.array([photo.scores for photo in photos], np.float32).reshape(len(photos), count)
