"""One picture that is asked for, and how its bytes are read."""

import os
from pathlib import Path
from typing import NamedTuple

from jaxvision.errors import FileError
from jaxvision.input_pipeline import download

MAX_BYTES = 2**28  # of one file


class Entry(NamedTuple):
    """One picture that is asked for.

    Attributes:
      id: what its row in the results is called.
      path: of a file, relative to the source's root, or an address; of a member, the tar's.
      offset, size: of a member, bytes from the start of the tar; size -1: the whole file.
      state: what changes with the file (size, time), as far as it is known without reading.
      problem: why it cannot be read, where listing found that out.
    """

    id: str
    path: bytes
    offset: int = 0
    size: int = -1
    state: tuple = ()
    problem: str = ""


def read(entry: Entry, root: Path) -> bytes:
    """The content of a picture's file.

    Raises:
      FileError: '<reason>': it is missing, cut or too large, or its server does not give it.
    """
    if entry.problem:
        raise FileError(entry.problem)
    path = os.fsdecode(entry.path)
    if download.is_url(path):
        return download.read_bytes(path, MAX_BYTES)
    if "://" in path:
        raise FileError(f"{path.partition('://')[0]}:// is not read, only http, https and paths")
    return _read_file(root / path, entry.offset, entry.size)


def own_path(entry: Entry, root: Path) -> Path | None:
    """The file that is this picture and nothing else; None where there is none."""
    path = os.fsdecode(entry.path)
    return None if entry.size >= 0 or "://" in path else root / path


def _read_file(path: Path, offset: int, size: int) -> bytes:
    if not path.is_file():
        raise FileError("no such file")
    wanted = size if size >= 0 else MAX_BYTES + 1
    if wanted > MAX_BYTES and size >= 0:
        raise FileError(f"{size:,} bytes are more than {MAX_BYTES:,}")
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            data = file.read(wanted)
    except OSError as error:
        raise FileError((error.strerror or str(error)).lower()) from error
    if size >= 0 and len(data) < size:
        raise FileError(f"cut off: {len(data):,} of {size:,} bytes")
    if len(data) > MAX_BYTES:
        raise FileError(f"more than {MAX_BYTES:,} bytes")
    return data
