"""Pictures in tar files, as webdataset lays them out: <key>.jpg, beside other <key>.* files.

Only headers are read to list them; each picture is then read by its place in the file.
"""

import collections
import glob
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxvision.batch_inference.entry import Entry
from jaxvision.errors import UserError
from jaxvision.input_pipeline.folders import is_hidden, natural
from jaxvision.input_pipeline.images import EXTENSIONS

BLOCK = 512  # bytes; a tar ends with blocks of zeros
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


def is_pattern(source: str) -> bool:
    """Whether --input is a tar file, or several, by its name."""
    return source.lower().endswith((".tar", *COMPRESSED))


def find(pattern: str) -> list[Path]:
    """The files of 'shards/{000..099}.tar' or 'shards/*.tar', or the one file of that name.

    Raises:
      UserError: one of them is not there, none is, or they are compressed.
    """
    if pattern.lower().endswith(COMPRESSED):
        raise UserError(
            f"--input={pattern!r}: a picture in a compressed tar cannot be found by its place; "
            "give .tar files"
        )
    if Path(pattern).is_file():
        return [Path(pattern)]
    files = []
    for name in expand(pattern):
        found = [name]
        if any(letter in name for letter in "*?["):
            found = sorted(glob.glob(name), key=natural)
        files += map(Path, found)
    missing = [str(file) for file in files if not file.is_file()]
    if missing or not files:
        raise UserError(
            f"--input={pattern!r}: {missing[0] if missing else 'no such file'}"
            f"{' does not exist' if missing else ''}; give tar files, as 'shards/{{000..099}}.tar'"
        )
    return files


def expand(pattern: str) -> list[str]:
    """'{08..10}.tar' as ['08.tar', '09.tar', '10.tar']."""
    span = re.search(r"\{(\d+)\.\.(\d+)\}", pattern)
    if not span:
        return [pattern]
    first, last = span.groups()
    width = len(first) if first.startswith("0") else 0
    before, after = pattern[: span.start()], pattern[span.end() :]
    numbers = (f"{number:0{width}d}" for number in range(int(first), int(last) + 1))
    return [whole for number in numbers for whole in expand(f"{before}{number}{after}")]


def members(files: Sequence[Path], root: Path, left_out: collections.Counter) -> Iterator[Entry]:
    """The pictures in tar files, by <path of the tar>/<name in it>.

    A tar that is damaged gives those before the damage, and an entry that tells the problem.

    Raises:
      UserError: a file is no tar.
    """
    for file in files:
        path, state = os.path.relpath(file, root), os.stat(file)
        about = (state.st_size, state.st_mtime_ns)
        try:
            tar = tarfile.open(file, "r:")  # noqa: SIM115 (closed below)
        except (tarfile.TarError, OSError) as error:
            raise UserError(f"{file} cannot be read as a tar file: {_one_line(error)}") from error
        name = os.fsencode(path).decode("utf-8", "backslashreplace")
        with tar:
            yield from _members(tar, name, os.fsencode(path), about, left_out)


def _members(
    tar: tarfile.TarFile, name: str, path: bytes, about: tuple, left_out: collections.Counter
) -> Iterator[Entry]:
    problem = ""
    try:
        while (member := tar.next()) is not None:
            tar.members = []  # it would keep every header
            if not member.isfile() or is_hidden(os.path.basename(member.name)):
                continue
            if not member.name.lower().endswith(EXTENSIONS):
                left_out[os.path.splitext(member.name)[1].lower()] += 1
                continue
            inside = os.fsencode(member.name).decode("utf-8", "backslashreplace")
            yield Entry(f"{name}/{inside}", path, member.offset_data, member.size, about)
        # tarfile takes a damaged header for the end; that is blocks of zeros, or of the file.
        tar.fileobj.seek(tar.offset)
        if any(tar.fileobj.read(BLOCK)):
            problem = "a header is damaged"
    except (tarfile.TarError, OSError) as error:
        problem = _one_line(error)
    if problem:
        text = f"the tar is damaged ({problem}): what follows in it is lost"
        yield Entry(name, path, state=about, problem=text)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
