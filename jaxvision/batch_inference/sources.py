"""What pictures are asked for: a folder tree, a table of paths or addresses, or tar files.

Each is listed as a stream of entries, so memory does not grow with the number of pictures.
"""

import collections
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from jaxvision.batch_inference import tables, tars
from jaxvision.batch_inference.entry import Entry
from jaxvision.errors import UserError
from jaxvision.input_pipeline.folders import is_hidden, natural
from jaxvision.input_pipeline.images import EXTENSIONS

SORTED = 100_000  # names of a folder that are put in order at a time


class Source(NamedTuple):
    """What --input names.

    Attributes:
      root: the folder that paths of entries are relative to.
      entries: (left_out) -> Iterator[Entry]. Files that are no pictures are counted in `left_out`,
        a Counter, by their extension.
    """

    root: Path
    entries: Callable[[collections.Counter], Iterator[Entry]]


def is_list(source: str) -> bool:
    """Whether --input is a table or tar files, and not a picture or a folder of pictures."""
    return not Path(source).is_dir() and (tables.is_table(source) or tars.is_pattern(source))


def open_source(source: str, output: Path) -> Source:
    """What --input names; its pictures are not looked at yet.

    Args:
      source: a folder; a .csv or .parquet file; a .tar file, or a pattern of several.
      output: the folder of the results, which is not read where it lies in that folder.

    Raises:
      UserError: there is no such thing, or nothing can be read from it.
    """
    path = Path(source)
    if not source:
        raise UserError(
            "--mode=predict needs --input: a folder of pictures, a .csv or .parquet file of paths, "
            "or .tar files"
        )
    if path.is_dir():
        _check_output(path, output)
        return Source(path, lambda left_out: tree(path, left_out, output))
    if tables.is_table(source):
        _check_output(path.parent, output)
        return Source(path.parent, tables.open_table(path))
    if tars.is_pattern(source):
        files = tars.find(source)
        root = Path(os.path.commonpath([file.parent.absolute() for file in files]))
        _check_output(root, output)
        return Source(root, lambda left_out: tars.members(files, root, left_out))
    if not path.exists():
        raise UserError(
            f"--input={source!r} does not exist: give a folder of pictures, a .csv or .parquet "
            "file of paths, or .tar files"
        )
    raise UserError(
        f"--input={source!r} cannot be predicted into parquet files: give its folder, or leave "
        "--format out"
    )


def _check_output(folder: Path, output: Path) -> None:
    if folder.resolve() == output.resolve():
        raise UserError(
            f"--output={str(output)!r} is the folder of --input: choose another folder for results"
        )


def tree(root: Path, left_out: collections.Counter, output: Path) -> Iterator[Entry]:
    """The pictures of a folder and all below it, by their paths in it.

    A folder's pictures come in natural order, up to SORTED of them at a time, then its folders.
    Links are followed, but no folder is read twice; hidden files are left out.

    Raises:
      UserError: a folder cannot be read.
    """
    seen, waiting = {_identity(output)}, [""]
    while waiting:
        below = waiting.pop()
        place = root / below
        if (identity := _identity(place)) in seen:
            continue
        seen.add(identity)
        folders = []
        try:
            with os.scandir(place) as inside:
                for entries in _batches(inside, SORTED):
                    yield from _pictures(entries, below, folders, left_out)
        except OSError as error:
            raise UserError(
                f"cannot read the folder {place}: {(error.strerror or '').lower()}"
            ) from error
        waiting += [os.path.join(below, name) for name in reversed(sorted(folders, key=natural))]


def _pictures(
    entries: list[os.DirEntry], below: str, folders: list[str], left_out: collections.Counter
) -> Iterator[Entry]:
    """Of a part of a folder; the names of its folders are appended to `folders`."""
    for entry in sorted(entries, key=lambda entry: natural(entry.name)):
        if is_hidden(entry.name):
            continue
        if entry.is_dir():
            folders.append(entry.name)
        elif entry.name.lower().endswith(EXTENSIONS) and entry.is_file():
            path, state = os.path.join(below, entry.name), entry.stat()
            yield Entry(as_id(path), os.fsencode(path), state=(state.st_size, state.st_mtime_ns))
        else:
            left_out[os.path.splitext(entry.name)[1].lower()] += 1


def _batches(items: Iterable, size: int) -> Iterator[list]:
    items = iter(items)
    while batch := list(itertools.islice(items, size)):
        yield batch


def _identity(folder: Path) -> tuple[int, int] | None:
    """Tells folders apart, whatever links lead to them; None where there is none."""
    try:
        state = os.stat(folder)
    except OSError:
        return None
    return state.st_dev, state.st_ino


def as_id(path: str) -> str:
    """A path as text that is valid everywhere; bytes that are no UTF-8 are written out."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
