"""Pictures with labels in parquet files, as Hugging Face's `datasets` writes them.

    photos/data/train-00000-of-00002.parquet  photos/data/test-00000-of-00001.parquet
    photos/train.parquet                      photos/default/train/0000.parquet

A column of pictures holds {bytes, path} or the bytes alone, a column of labels numbers or names.
Names of numbers are in the schema, under "huggingface". Needs pyarrow, not `datasets`.
"""

import collections
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxvision.errors import UserError
from jaxvision.input_pipeline.cells import Cell, open_parquet
from jaxvision.input_pipeline.folders import SPLIT_NAMES, natural


class Row(NamedTuple):
    """A picture with its label, '' where there is none, and split, '' where none is given."""

    cell: Cell
    name: str
    label: str
    split: str


class Listed(NamedTuple):
    """All rows; `classes`, in order; [] where there are no labels; and notes."""

    rows: list[Row]
    classes: list[str]
    notes: list[str]


def find(root: Path) -> list[Path]:
    """The parquet files of a data set: in the folder, or in folders one or two below.

    Raises:
      UserError: there are several data sets.
    """
    if root.is_file():
        return [root] if root.suffix.lower() == ".parquet" else []
    for pattern in ("*.parquet", "*/*.parquet", "*/*/*.parquet"):
        files = [p for p in root.glob(pattern) if p.is_file() and p.name != "metadata.parquet"]
        homes = {p.parent.parent if _split_in(p.parent.name) else p.parent for p in files}
        if len(homes) > 1:
            listed = ", ".join(sorted(str(home.relative_to(root)) for home in homes)[:5])
            raise UserError(f"{root} holds several data sets, {listed}: give one as data.path")
        if files:
            return sorted(files, key=lambda p: natural(str(p)))
    return []


def read(files: Sequence[Path], root: Path, label_column: str, needed: bool = True) -> Listed:
    """The rows of parquet files; pictures are not decoded yet.

    Args:
      files: of `find`.
      root: of the data set.
      label_column: `data.label`; '': label, or the only column of labels.
      needed: whether there must be labels.

    Raises:
      UserError: pyarrow is not installed; a file is damaged, or lacks a column; a part is missing.
    """
    splits = {file: _split_in(file.stem) or _split_in(file.parent.name) for file in files}
    notes = []
    if any(splits.values()) and not all(splits.values()):
        others = [file.name for file, split in splits.items() if not split]
        notes.append(f"{len(others)} parquet files are of no split: {', '.join(others[:5])}")
        splits = {file: split for file, split in splits.items() if split}
    _refuse_missing_parts(splits)
    rows, names, kinds = [], None, set()
    for file, split in splits.items():
        own, own_names = _read_file(file, root, split, label_column, needed)
        kinds.add(own_names is None)
        if names not in (None, own_names) or len(kinds) > 1:
            raise UserError(f"{file} has other class names than {next(iter(splits)).name}")
        rows, names = rows + own, own_names
    test = [row for row in rows if row.split == "test"]
    if test and not any(row.label for row in test) and any(row.label for row in rows):
        rows = [row for row in rows if row.split != "test"]
        notes.append(f"test is left out: none of its {len(test)} rows has a label")
    classes = names or sorted({row.label for row in rows} - {""}, key=natural)
    return Listed(rows, list(classes), notes)


def _split_in(name: str) -> str:
    """The split that a name begins with: 'val' for validation-00000-of-00001."""
    word = re.match(r"[a-z]*", name.lower()).group()
    return SPLIT_NAMES.get(word, "")


def _refuse_missing_parts(files: Sequence[Path]) -> None:
    parts = collections.defaultdict(set)
    for file in files:
        if match := re.fullmatch(r"(.*)-(\d+)-of-(\d+)(?:-\w+)?", file.stem):
            parts[match[1], int(match[3])].add(int(match[2]))
    for (name, count), found in parts.items():
        missing = sorted(set(range(count)) - found)
        if missing:
            raise UserError(
                f"{name} has {count} parquet files, and {len(missing)} are missing: the first is "
                f"{name}-{missing[0]:05d}-of-{count:05d}.parquet"
            )


def _read_file(
    file: Path, root: Path, split: str, label_column: str, needed: bool
) -> tuple[list[Row], list[str] | None]:
    """The rows of a file, and the names of its labels where its schema has them."""
    with open_parquet(file) as opened:
        schema = opened.schema_arrow
        stated = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = stated.get("info", {}).get("features", {})
        features = {name: f for name, f in features.items() if isinstance(f, dict)}
        image = _image_column(file, schema, features)
        label = _label_column(file, schema, features, label_column, needed)
        labels = opened.read(columns=[label]).column(0).to_pylist() if label else None
        counts = [opened.metadata.row_group(g).num_rows for g in range(opened.num_row_groups)]
    names = features.get(label, {}).get("names") if label else None
    place = str(file.relative_to(root)) if file.is_relative_to(root) and file != root else file.name
    rows = []
    for group, count in enumerate(counts):
        for row in range(count):
            number = len(rows)
            text = _label(file, number, labels[number], names) if labels else ""
            cell = Cell(str(file), group, row, image)
            rows.append(Row(cell, f"{place} row {number}", text, split))
    return rows, names


def _label(file: Path, number: int, value: Any, names: Sequence[str] | None) -> str:
    """The class of a row; '' for none (null, or -1 of unlabelled test data)."""
    if value is None or value == -1:
        return ""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise UserError(f"{file} row {number}: label {value!r} is no whole number and no text")
    if names is None or isinstance(value, str):
        return str(value)
    if not 0 <= value < len(names):
        raise UserError(f"{file} row {number}: label {value}, but there are {len(names)} classes")
    return names[value]


def _image_column(file: Path, schema: Any, features: dict) -> str:
    import pyarrow

    def holds(name: str) -> bool:
        kind = schema.field(name).type
        if pyarrow.types.is_struct(kind):
            return kind.get_field_index("bytes") >= 0
        return pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)

    stated = [n for n, f in features.items() if f.get("_type") == "Image"]
    found = [n for n in schema.names if n in stated] or [n for n in schema.names if holds(n)]
    preferred = [name for name in ("image", "img") if name in found] or found
    if len(preferred) != 1:
        listed = ", ".join(f"{field.name} ({str(field.type)[:40]})" for field in schema)
        raise UserError(
            f"{file} holds {len(found)} columns of pictures, where one is needed, called image or "
            f"img; its columns: {listed}"
        )
    return preferred[0]


def _label_column(file: Path, schema: Any, features: dict, wanted: str, needed: bool) -> str:
    stated = [n for n, f in features.items() if f.get("_type") == "ClassLabel"]
    name = wanted or ("label" if "label" in schema.names or len(stated) != 1 else stated[0])
    if name in schema.names:
        return name
    if not needed and not wanted:
        return ""
    raise UserError(
        f"{file} has no column {name!r} of labels; its columns: {', '.join(schema.names)}: name "
        "one with data.label"
    )
