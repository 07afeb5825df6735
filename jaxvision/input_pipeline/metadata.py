"""A folder of pictures whose classes stand in metadata.csv or metadata.jsonl (Hugging Face's way).

photos/train/metadata.csv  photos/train/0001.jpg  photos/test/...     file_name,label
photos/metadata.jsonl      photos/train/0001.jpg                      {"file_name":, "label":}
"""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxvision.errors import UserError
from jaxvision.input_pipeline import folders
from jaxvision.input_pipeline.folders import natural

NAMES = ("metadata.csv", "metadata.jsonl")


class Listed(NamedTuple):
    """(path, label, split) of each picture, a problem a row that cannot be used, and notes."""

    files: list[tuple[Path, str, str]]
    problems: list[str]
    notes: list[str]


def find(root: Path) -> list[Path]:
    """The metadata in a folder, or in those of its splits.

    Raises:
      UserError: there are two for the same pictures.
    """
    top = folders.read_folder(root)
    found = []
    for place in (root, *folders.split_folders(top)):
        own = [place / name for name in NAMES if (place / name).is_file()]
        if len(own) > 1 or (own and root in {file.parent for file in found}):
            raise UserError(f"{root} holds several files of metadata: leave one")
        found += own
    return found


def read(files: Sequence[Path], root: Path, label: str) -> Listed | None:
    """The pictures that metadata names; None where it says no class and folders may.

    Args:
      files: of `find`.
      root: of the data set.
      label: `data.label`; '': label, or the only column beside file_name.

    Raises:
      UserError: a file cannot be read, or lacks a column.
    """
    listed, problems, named = [], [], set()
    for file in files:
        rows = _rows(file)
        column = _column(file, rows, label)
        if column is None:
            return None
        for number, row in rows:
            path = file.parent / str(row["file_name"])
            named.add(path)
            try:
                listed.append((path, _label(row.get(column)), folders.split_of(path, root)))
            except ValueError as error:
                problems.append(f"{file.relative_to(root)} row {number}: {error}")
    places = {path.parent for path in named if path.parent.is_dir()}
    pictures = [p for place in places for p in folders.read_folder(place).pictures]
    others = [p for p in folders.in_order(pictures) if p not in named]
    notes = []
    if others:
        shown = ", ".join(p.name for p in others[:3]) + (", ..." if len(others) > 3 else "")
        notes.append(f"{len(others)} pictures are not in {files[0].name}: {shown}")
    return Listed(listed, problems, notes)


def classes_of(files: list[tuple[Path, str, str]]) -> list[str]:
    """The classes in natural order: of train where there is a train."""
    train = {label for _, label, split in files if split in ("train", "")}
    return sorted(train or {label for _, label, _ in files}, key=natural)


def _rows(file: Path) -> list[tuple[int, dict[str, Any]]]:
    """(row or line number, {column: value}) of each row."""
    try:
        with open(file, newline="", encoding="utf-8-sig") as opened:
            if file.suffix == ".csv":
                rows = list(enumerate(csv.DictReader(opened, skipinitialspace=True), 2))
            else:
                lines = enumerate(opened, 1)
                rows = [(number, json.loads(line)) for number, line in lines if line.strip()]
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{file} cannot be read: {error}") from error
    bad = next((n for n, row in rows if not isinstance(row, dict) or not row.get("file_name")), 0)
    if not rows or bad:
        where = f" in row {bad}" if bad else ""
        raise UserError(f"{file} has no file_name{where}: needed are file_name and a label")
    return rows


def _column(file: Path, rows: list, label: str) -> str | None:
    """The column of classes; None where there is none and the folders may say it."""
    columns = [name for name in rows[0][1] if name and name != "file_name"]
    if label and label not in columns:
        raise UserError(f"{file} has no column {label!r} (data.label): {', '.join(columns)}")
    if label or "label" in columns:
        return label or "label"
    if any("/" in str(row["file_name"]) for _, row in rows):
        return None
    if len(columns) != 1:
        raise UserError(
            f"{file} has no column label; name the one of classes with data.label: "
            f"{', '.join(columns) or 'there is none beside file_name'}"
        )
    return columns[0]


def _label(value: Any) -> str:
    """The name of a class; raises ValueError for what is none."""
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        raise ValueError(f"label {value!r} is no class (a text or a whole number)")
    return str(value).strip()
