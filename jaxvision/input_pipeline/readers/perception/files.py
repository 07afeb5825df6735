"""Which photo has which scores: read from Place Pulse 2.0 or from a csv, nothing decoded yet."""

import csv
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxvision.errors import UserError
from jaxvision.input_pipeline import images
from jaxvision.input_pipeline.dataset import SPLITS
from jaxvision.input_pipeline.place_names import parse_name

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
OTHER_COLUMNS = ("file", "city", "lat", "lon", "split")  # of a csv; every other is an attribute


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
        photos = [_photo(name, file, ()) for name, file in _find_photos(path).items()]
        return Listing(photos, (), [], [], _find_votes(path))
    raise UserError(
        f"{path} holds no qscores.tsv (Place Pulse 2.0), scores.csv (file,<attribute>,...) or "
        f"votes.csv; it has {', '.join(sorted(os.listdir(path))[:3]) or 'nothing'}"
    )


def _find_votes(folder: Path) -> Path | None:
    return next((folder / name for name in VOTES if (folder / name).exists()), None)


def _find_photos(root: Path) -> dict[str, Path]:
    """{stem: path} of the photos in images/ (or where Place Pulse has them), else in the root."""
    inside = ("images", "gsv/final_photo_dataset", "final_photo_dataset")
    folder = next((root / name for name in inside if (root / name).is_dir()), root)
    found = images.find_images(folder)
    if not found:
        raise UserError(f"{folder} holds no PNG, JPEG, TIFF or WebP photos; put them there")
    return found


def _photo(stem: str, file: Path, scores: Sequence[float]) -> Photo:
    name, place, city = parse_name(stem)
    return Photo(name, str(file), file.name, city, place, "", tuple(scores))


def _list_place_pulse(root: Path) -> Listing:
    """`qscores.tsv`: location_id, study_id and the score, one a line."""
    table = root / "qscores.tsv"
    scores, attributes = _Scores(table), {}
    for number, row in read_table(table, ("location_id", "study_id"), "\t"):
        column = next((name for name in SCORE_COLUMNS if name in row), None)
        if column is None:
            raise UserError(f"{table} has no column {' or '.join(SCORE_COLUMNS)}")
        attribute = STUDIES.get(row["study_id"], row["study_id"])
        attributes[attribute] = None
        score = parse_score(row[column], f"{table} row {number}, {column}")
        scores.put(row["location_id"], attribute, score, number)
    names, photos, notes = tuple(attributes), [], scores.notes()
    unscored = 0
    for stem, file in _find_photos(root).items():
        own = scores.table.pop(parse_name(stem)[0], None)
        unscored += own is None
        if own:
            photos.append(_photo(stem, file, [own.get(name, math.nan) for name in names]))
    if unscored:
        notes.append(f"left out {unscored} photos in {root} that {table.name} has no score of")
    problems = [
        f"{name}: {table.name} scores it, but there is no such photo" for name in scores.table
    ]
    _refuse_same_names(photos)
    return Listing(photos, names, problems, notes, _find_votes(root))


def _list_csv(path: Path) -> Listing:
    """`file,<attribute>,...`; a cell that is empty or 'nan' is a score that is missing."""
    rows = list(read_table(path, ("file",), ","))
    attributes = tuple(name for name in rows[0][1] if name not in OTHER_COLUMNS)
    if not attributes:
        raise UserError(f"{path} has no column of scores beside {', '.join(rows[0][1])}")
    scores, first = _Scores(path), {}
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
        found = files.find(file)
        if found is None:
            problems.append(f"{file}: {path.name} scores it, but there is no such photo")
            continue
        photo = _photo(found.stem, found, [scores.table[file][name] for name in attributes])
        photos.append(photo._replace(**_given(row, photo, path)))
    _refuse_same_names(photos)
    return Listing(photos, attributes, problems, scores.notes(), _find_votes(path.parent))


def _given(row: dict[str, str], photo: Photo, path: Path) -> dict:
    """City, place and split of a csv row, where it has these columns."""
    split = row.get("split", "").lower()
    if split and split not in SPLITS:
        raise UserError(f"{path}: {row['file']} has split {split!r}, not train, val or test")
    place = photo.place
    if row.get("lat") and row.get("lon"):
        place = tuple(parse_score(row[name], f"{path}, {name}") for name in ("lat", "lon"))
    return {"city": row.get("city") or photo.city, "place": place, "split": split}


class _Files:
    """Finds what a csv calls a file: from the csv's folder or its images/, extension optional."""

    def __init__(self, folder: Path):
        self.folders = [folder, folder / "images"]
        self.stems = {}
        for place in self.folders:
            if place.is_dir():
                self.stems = {p.stem: p for p in place.iterdir() if p.is_file()} | self.stems

    def find(self, text: str) -> Path | None:
        for folder in self.folders:
            path = folder / Path(text).expanduser()
            if path.is_file():
                return path
        return None if Path(text).suffix.lower() in images.EXTENSIONS else self.stems.get(text)


def read_table(
    path: Path, needed: Sequence[str], delimiter: str
) -> Iterator[tuple[int, dict[str, str]]]:
    """(row number, {column: text}) of every row that is not blank; the header is row 1.

    Raises:
      UserError: not UTF-8 text, a column in `needed` is missing, or there are no rows.
    """
    empty = True
    try:
        # utf-8-sig: spreadsheets put a byte order mark first.
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file, delimiter=delimiter)
            header = [name.strip() for name in next(lines, [])]
            missing = [name for name in needed if name not in header]
            if missing:
                raise UserError(
                    f"{path} has no column {', '.join(missing)} in its first row; found: "
                    f"{', '.join(header) or 'nothing'}"
                )
            for number, line in enumerate(lines, start=2):
                if any(line):
                    empty = False
                    cells = [cell.strip() for cell in line] + [""] * (len(header) - len(line))
                    yield number, dict(zip(header, cells, strict=False))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {path} as a table in UTF-8: {error}") from error
    if empty:
        raise UserError(f"{path} has a header but no rows")


def parse_score(text: str, where: str) -> float:
    """A number; NaN for an empty cell or 'nan'.

    Raises:
      UserError: anything else.
    """
    if text.lower() in ("", "nan", "na"):
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.inf
    if math.isinf(value):
        raise UserError(f"{where}: {text!r} is no number; leave the cell empty where it is missing")
    return value


class _Scores:
    """{photo: {attribute: score}}, and what was said twice."""

    def __init__(self, path: Path):
        self.path, self.table = path, {}
        self.repeated, self.conflicts = 0, []

    def put(self, name: str, attribute: str, score: float, row: int) -> None:
        own = self.table.setdefault(name, {})
        before = own.setdefault(attribute, score)
        if before is score:
            return
        self.repeated += 1
        if before != score and not (math.isnan(before) and math.isnan(score)):
            self.conflicts.append(
                f"row {row} gives {name} {score:g} for {attribute}, an earlier one {before:g}"
            )

    def notes(self) -> list[str]:
        """What to log of scores given twice; UserError where they differ."""
        if self.conflicts:
            raise UserError(
                f"{self.path}: {len(self.conflicts)} scores differ from an earlier row's of the "
                f"same photo: {'; '.join(self.conflicts[:3])}; keep one row a photo"
            )
        said = f"{self.path.name} gives {self.repeated} scores twice, with the same value"
        return [said] if self.repeated else []


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
