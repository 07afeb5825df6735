"""A csv of picture files and their points."""

import csv
import glob
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxvision.errors import UserError
from jaxvision.input_pipeline import folders
from jaxvision.input_pipeline.readers.keypoints.files import FilePictures, Labelled


def read_csv(path: Path) -> Labelled:
    """Columns `file`, `<point>_x` and `<point>_y` for each point, and, if wished, `split`, `group`.

    Files are named from the csv's folder, or from the one folder in it that holds them. An empty
    cell is a point that is not visible.

    Raises:
      UserError: no such columns, a number that is none, a file named twice, no rows.
    """
    header, rows = _table(path)
    if "file" not in header:
        raise UserError(f"{path} has no column 'file' in its first row; found: {', '.join(header)}")
    keypoints = [name[:-2] for name in header if name.endswith("_x") and f"{name[:-2]}_y" in header]
    if not keypoints:
        raise UserError(
            f"{path} has no columns <point>_x and <point>_y, such as head_x,head_y; found: "
            f"{', '.join(header)}"
        )
    columns = {name: [row[i] for row in rows] for i, name in enumerate(header)}
    cells = np.array([columns[f"{p}_{axis}"] for p in keypoints for axis in "xy"]).T
    points = _numbers(cells, path, first_row=2).reshape(len(rows), len(keypoints), 2)
    names = columns["file"]
    _check_unique(names, path)
    files = [_beside(path, name) for name in names]
    splits = _splits(columns.get("split", ()), files, path)
    groups = columns.get("group", ())
    used = {"file", "split", "group", *(f"{p}_{axis}" for p in keypoints for axis in "xy")}
    unused = [name or "(no name)" for name in header if name not in used]
    notes = [f"points of {path.name}: {', '.join(keypoints)}"]
    notes[0] += f"; columns not used: {', '.join(unused)}" if unused else ""
    notes += _unnamed(files, path)
    files = tuple(str(file) for file in files)
    return Labelled(names, keypoints, points, FilePictures(files), files, splits, groups, notes)


def _splits(column: Sequence[str], files: Sequence[Path], path: Path) -> list[str]:
    """Of each picture: as the column says, else the folder it lies in; [] where neither does.

    Raises:
      UserError: the column holds something else, or only some pictures lie in a split's folder.
    """
    if column:
        for number, text in enumerate(column, start=2):
            if text.lower() not in folders.SPLIT_NAMES:
                raise UserError(f"{path} row {number}: split {text!r} is not train, val or test")
        return [folders.SPLIT_NAMES[text.lower()] for text in column]
    splits = [folders.split_of(file, path.parent) for file in files]
    if any(splits) and not all(splits):
        without = [file.name for file, split in zip(files, splits, strict=True) if not split]
        raise UserError(
            f"{path}: {len(without)} of {len(files)} pictures lie in no folder of a split, "
            f"{without[0]} first, and the others do: move them, or add a column split"
        )
    return splits if all(splits) else []


def _unnamed(files: Sequence[Path], path: Path) -> list[str]:
    """A note on what lies beside the pictures and is not in the csv."""
    named, seen, unused = {file.absolute() for file in files}, set(), []
    for folder in dict.fromkeys(file.parent for file in files):
        if folder.is_dir():
            level = folders.read_folder(folder, seen)
            unused += [p for p in level.pictures if p.absolute() not in named]
            unused += [p for p in level.others if p.absolute() != path.absolute()]
    return folders.left_out(unused, path.parent)


def _beside(path: Path, name: str) -> Path:
    """The picture in the csv's folder, else in the one folder in there that has it."""
    here = path.parent / Path(name).expanduser()
    matches = [] if here.exists() else sorted(path.parent.glob(f"*/{glob.escape(name)}"))
    return matches[0] if len(matches) == 1 else here


def _table(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        # utf-8-sig: spreadsheets put a byte order mark first.
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = [line for line in csv.reader(file) if any(cell.strip() for cell in line)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {path} as csv in UTF-8: {error}") from error
    if len(lines) < 2:
        raise UserError(f"{path} has no rows; give a header and a line for each picture")
    header = [cell.strip() for cell in lines[0]]
    return header, [
        [*map(str.strip, line), *[""] * len(header)][: len(header)] for line in lines[1:]
    ]


def _numbers(cells: np.ndarray, path: Path, first_row: int) -> np.ndarray:
    """float32 of texts; '' and 'nan' are NaN."""
    values = np.full(cells.shape, np.nan, np.float32)
    for (row, column), text in np.ndenumerate(cells):
        if text:
            try:
                values[row, column] = float(text)
            except ValueError as error:
                raise UserError(f"{path} row {row + first_row}: {text!r} is no number") from error
    return values


def _check_unique(names: Sequence[str], path: Path) -> None:
    seen = set()
    for name in names:
        if name in seen:
            raise UserError(f"{path} names {name} twice: keep one line for each picture")
        seen.add(name)
