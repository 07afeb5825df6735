"""AffectNet (Mollahosseini et al. 2017, arXiv 1708.03985), in each form that people have.

    train_class/class001/*.jpg ... class008/   val_class/...         folders of 8 classes
    train/0/*.jpg ... 7/                       val/...               the same by number
    Manually_Annotated_file_lists/training.csv  validation.csv       a face's box, its expression
    Manually_Annotated_Images/<folder>/<picture>                     from which the face is cut
    train_set/images/<id>.jpg  train_set/annotations/<id>_exp.npy    val_set/...

Any splits, of any of the usual names. Numbers 8 to 10 stand for no expression of the eight,
uncertain and no face; those rows are left out and counted. Valence, arousal and landmarks are not
read. Its test set is not public: the validation set is val.
"""

import collections
import csv
import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxvision.errors import UserError
from jaxvision.input_pipeline import checks, folders, labelled, parallel
from jaxvision.input_pipeline.checks import Checked
from jaxvision.input_pipeline.dataset import Dataset

# Labels 0 to 7, called as FER2013's where it has them, then those that are left out.
CLASSES = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt")
NO_CLASS = ("none of the eight", "uncertain", "no face")
COLUMNS = (
    "subDirectory_filePath",
    *("face_x", "face_y", "face_width", "face_height"),
    *("facial_landmarks", "expression", "valence", "arousal"),
)
SUFFIX = re.compile(r"_(class|set)$", re.IGNORECASE)  # of the splits' folders
LOOKED_FOR = 20  # rows whose picture shows where a csv's pictures are


class Row(NamedTuple):
    """A picture with its expression.

    Attributes:
      path: of the picture.
      number: of the expression.
      split: 'train', 'val', 'test' or ''.
      box: the face's left, top, width and height in the picture, pixels; (): the whole.
    """

    path: Path
    number: int
    split: str
    box: tuple[int, ...] = ()


class Listed(NamedTuple):
    """Rows, a problem for each that cannot be used, and notes."""

    rows: list[Row]
    problems: list[str]
    notes: list[str]


def find(path: Path) -> Listed | None:
    """What AffectNet's lists or folders at `path` say; None where there are none.

    Raises:
      UserError: a csv or a folder cannot be read; the csv's pictures are nowhere.
    """
    if path.is_file():
        return _of_csvs([(path, "")]) if _is_list(path) else None
    top = folders.read_folder(path)
    inside = [folders.read_folder(p) for p in top.folders if "list" in p.name.lower()]
    lists = [(file, _split(file.stem)) for place in (top, *inside) for file in place.others]
    lists = [(file, split) for file, split in lists if split and file.suffix.lower() == ".csv"]
    if any(_is_list(file) for file, _ in lists):
        return _of_csvs([(file, split) for file, split in lists if _is_list(file)])
    places = [(place, _split(place.name)) for place in top.folders]
    places = [(place, split) for place, split in places if split] or [(path, "")]
    if all((place / "annotations").is_dir() and (place / "images").is_dir() for place, _ in places):
        return _of_arrays(places)
    return _of_folders(places, top)


def make_dataset(listed: Listed, path: Path, config: Any) -> Dataset:
    """The data set of what was found; rows as `labelled.make_dataset` gives them.

    Raises:
      UserError: more than 1 % of the rows cannot be used.
    """
    rows = [row for row in listed.rows if row.number < len(CLASSES)]
    left_out = collections.Counter(row.number for row in listed.rows)
    left_out = {name: left_out[len(CLASSES) + i] for i, name in enumerate(NO_CLASS)}
    notes = list(listed.notes)
    if sum(left_out.values()):
        counts = ", ".join(f"{count} {name}" for name, count in left_out.items() if count)
        notes.append(f"left out {sum(left_out.values())} of {len(listed.rows)} rows: {counts}")
    outcomes = checks.check_files(
        [(str(row.path), "image") for row in rows], path, config.data.range
    )
    examples, problems = [], list(listed.problems)
    for row, outcome in zip(rows, outcomes, strict=True):
        name = str(row.path.relative_to(path)) if row.path.is_relative_to(path) else str(row.path)
        try:
            examples.append(_example(row, name, outcome))
        except ValueError as error:
            problems.append(f"{name}: {error}")
    notes += checks.skip_problems(problems, len(rows) + len(listed.problems), str(path))
    notes += checks.range_notes(outcomes, config.data.range)
    seen = {example.label for example in examples}
    classes = [name for name in CLASSES if name in seen]
    if len(classes) < 2:
        raise UserError(
            f"{path}: AffectNet's rows have {len(classes)} of its 8 expressions: at least two are "
            "needed"
        )
    return labelled.make_dataset(examples, classes, notes, f"AffectNet in {path}", config)


def _example(row: Row, name: str, outcome: Checked) -> labelled.Example:
    """Raises ValueError with the reason where a row cannot be used."""
    if outcome.error:
        raise ValueError(outcome.error)
    label = CLASSES[row.number]
    if not row.box:
        size = min(outcome.height, outcome.width)
        return labelled.Example(name, str(row.path), label, row.split, outcome.digest, size)
    left, top, width, height = row.box
    right, bottom = min(left + width, outcome.width), min(top + height, outcome.height)
    left, top = max(left, 0), max(top, 0)
    size = min(right - left, bottom - top)
    if size < 1:
        raise ValueError(
            f"the face at {row.box} lies outside the picture of {outcome.width} x {outcome.height}"
        )
    cut = labelled.Cut(str(row.path), left, top, right, bottom)
    digest = hashlib.blake2b(f"{outcome.digest} {cut[1:]}".encode(), digest_size=16).hexdigest()
    return labelled.Example(name, cut, label, row.split, digest, size)


def _split(name: str) -> str:
    """The split that a folder or csv is called after; '' for none."""
    return folders.SPLIT_NAMES.get(SUFFIX.sub("", name).lower(), "")


def _number(value: Any) -> int:
    """The number of an expression; raises ValueError where it is none."""
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = -1
    if not 0 <= number < len(CLASSES) + len(NO_CLASS):
        raise ValueError(f"expression {value!r} is not 0 to {len(CLASSES) + len(NO_CLASS) - 1}")
    return number


# Folders: train_class/class001, or train/0.


def _of_folders(places: Sequence[tuple[Path, str]], top: folders.Folder) -> Listed | None:
    levels = [(folders.read_folder(place), split) for place, split in places]
    names = {folder.name for level, _ in levels for folder in level.folders}
    numbers = {f"class{number + 1:03d}": number for number in range(len(CLASSES))}
    if not names or not names <= set(numbers):
        numbers = {str(number): number for number in range(len(CLASSES))}
        if names != set(numbers):  # fewer are another's numbers: FER2013 has seven, too
            return None
    rows, unused = [], []
    for level, split in levels:
        unused += [*level.pictures, *level.others]
        for place in level.folders:
            inside = folders.read_folder(place)
            unused += [*inside.folders, *inside.others]
            rows += [Row(picture, numbers[place.name], split) for picture in inside.pictures]
    if places[0][1]:
        split_places = {place for place, _ in places}
        others = (*top.folders, *top.pictures, *top.others)
        unused += [entry for entry in others if entry not in split_places]
    named = ", ".join(f"{name} is {CLASSES[numbers[name]]}" for name in sorted(names))
    return Listed(rows, [], [f"AffectNet's numbers: {named}", *folders.left_out(unused, top.path)])


# Arrays: images/<id>.jpg and annotations/<id>_exp.npy.


def _of_arrays(places: Sequence[tuple[Path, str]]) -> Listed:
    pictures = [
        (picture, split)
        for place, split in places
        for picture in folders.read_folder(place / "images").pictures
    ]
    read = parallel.threaded(_annotation, pictures, "reading annotations", parallel.cpu_threads())
    outcomes = list(read)
    return Listed(
        [row for row in outcomes if isinstance(row, Row)],
        [problem for problem in outcomes if isinstance(problem, str)],
        [],
    )


def _annotation(picture: tuple[Path, str]) -> Row | str:
    """A row, or why it cannot be used."""
    path, split = picture
    file = path.parents[1] / "annotations" / f"{path.stem}_exp.npy"
    try:
        return Row(path, _number(np.load(file, allow_pickle=False).item()), split)
    except FileNotFoundError:
        return f"{path.name}: there is no {file}"
    except (OSError, ValueError) as error:
        return f"{path.name}: {file.name}: {error}"


# Lists: training.csv, which has a header, and validation.csv, which has none.


def _is_list(file: Path) -> bool:
    with open(file, newline="", encoding="utf-8-sig", errors="replace") as opened:
        first = next(csv.reader([opened.readline()]), [])
    named = {COLUMNS[0], "expression"} <= set(first)
    return named or (len(first) == len(COLUMNS) and first[6].strip().isdigit())


def _of_csvs(files: Sequence[tuple[Path, str]]) -> Listed:
    rows, problems = [], []
    for file, split in files:
        listed = list(_lines(file))
        root = _root(file, [line[COLUMNS[0]] for _, line in listed])
        for number, line in listed:
            try:
                rows.append(_row(line, root, split))
            except ValueError as error:
                problems.append(f"{file.name} row {number}: {error}")
    return Listed(rows, problems, [])


def _lines(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(its number, {column: text}) of each row."""
    csv.field_size_limit(2**24)
    try:
        with open(file, newline="", encoding="utf-8-sig") as opened:
            header = COLUMNS[0] in opened.readline()
            opened.seek(0)
            reader = csv.DictReader(opened, None if header else COLUMNS, restval="")
            yield from enumerate(reader, 2 if header else 1)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file} cannot be read as a csv: {error}") from error


def _root(file: Path, names: Sequence[str]) -> Path:
    """The folder that a csv's pictures are named in: its own, one in it, or one beside it."""
    beside = (file.parent, file.parent.parent)
    places = [p for place in beside for p in (place, *folders.read_folder(place).folders)]
    for place in places:
        if any((place / name).is_file() for name in names[:LOOKED_FOR]):
            return place
    raise UserError(
        f"{file} names {names[0] if names else 'no picture'}, which is not in {file.parent}, in a "
        "folder there, or in one beside it: put Manually_Annotated_Images/ there"
    )


def _row(line: dict[str, str], root: Path, split: str) -> Row:
    """Raises ValueError with the reason where a line cannot be used."""
    number, path = _number(line["expression"]), root / line[COLUMNS[0]]
    if number >= len(CLASSES):  # of which no face need be known
        return Row(path, number, split)
    texts = [line.get(column) for column in COLUMNS[1:5]]
    try:
        box = tuple(round(float(text)) for text in texts)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"the face {', '.join(map(str, texts))} is no box of numbers") from error
    return Row(path, number, split, box)
