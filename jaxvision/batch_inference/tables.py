"""A table of paths or addresses, .csv or .parquet, a picture a row."""

import collections
import csv
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from jaxvision.batch_inference.entry import Entry
from jaxvision.errors import UserError

SUFFIXES = (".csv", ".parquet")
# What the column of paths may be called; the first of these that is there.
PATHS = ("path", "file", "image", "url", "address", "filename", "image_path", "image_url")
ID = "id"  # the column of names, where there is one
ROWS = 8192  # of a parquet file that are read at a time


def is_table(source: str) -> bool:
    """Whether --input is a table by its name."""
    return Path(source).suffix.lower() in SUFFIXES


def open_table(path: Path) -> Callable[[collections.Counter], Iterator[Entry]]:
    """Returns entries(left_out) of a table; relative paths in it begin at its own folder.

    Raises:
      UserError: there is no such file, it cannot be read, or has no column of paths.
    """
    if not path.is_file():
        raise UserError(f"--input={str(path)!r} does not exist: give a .csv or .parquet file")
    rows = _parquet_rows if path.suffix.lower() == ".parquet" else _csv_rows
    next(rows(path), None)  # a header that cannot be used is told before anything is done
    return lambda left_out: _entries(rows(path))


def _entries(rows: Iterable[tuple[Any, Any]]) -> Iterator[Entry]:
    for number, (name, path) in enumerate(rows, 1):
        path = "" if path is None else str(path).strip()
        name = path if name is None or name == "" else str(name)
        problem = "" if path else "no path or address in its row"
        yield Entry(name or f"row {number}", os.fsencode(path), problem=problem)


def _csv_rows(path: Path) -> Iterator[tuple[Any, Any]]:
    """(id or None, path) of each row."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            column = _path_column(path, reader.fieldnames or ())
            for row in reader:
                yield row.get(ID), row[column]
    except (UnicodeDecodeError, csv.Error) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is no table in UTF-8 ({reason}): save it as such") from error


def _parquet_rows(path: Path) -> Iterator[tuple[Any, Any]]:
    """(id or None, path) of each row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            columns = [_path_column(path, names)]
            columns += [ID] if ID in names and ID not in columns else []
            for batch in file.iter_batches(ROWS, columns=columns):
                paths, *ids = (batch.column(name).to_pylist() for name in columns)
                yield from zip(ids[0] if ids else [None] * len(paths), paths, strict=True)
    except pa.ArrowException as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} cannot be read as parquet ({reason}): write it anew") from error


def _path_column(path: Path, names: Iterable[str]) -> str:
    names = list(names)
    for name in PATHS:
        if name in names:
            return name
    raise UserError(
        f"{path} has no column of paths or addresses, only {', '.join(map(repr, names[:8])) or '-'}"
        f": name it one of {', '.join(PATHS)}"
    )
