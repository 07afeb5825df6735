"""Where downloaded and derived files are kept between runs.

A derived file says, by its name, everything that its content depends on, and carries a checksum.
Losing one costs time and nothing else: damaged ones are made anew, one that cannot be written is
done without, and the oldest go where there are too many ($JAXVISION_CACHE_GIB, 20).
"""

import contextlib
import functools
import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from jaxvision.console import say
from jaxvision.errors import UserError

LIMIT_GIB = 20.0
# What the limit counts and takes from; weights and compiled programs are not among them.
LIMITED = ("decoded", "checked", "copies", "downloads")
DOWNLOADS_STAY = 86400.0  # seconds since their last use: another run may be reading them
PARTS_STAY = 86400.0  # seconds: a file that is still being written is younger
_in_use: set[Path] = set()  # by this process
_noted: set[str] = set()


def cache_dir() -> Path:
    """$JAXVISION_CACHE, else $XDG_CACHE_HOME/jaxvision, else ~/.cache/jaxvision (may not exist)."""
    if chosen := os.environ.get("JAXVISION_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "jaxvision"


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A file that appears at `path` whole, when the block ends, or not at all.

    Two processes that write the same path do not mix: each has its own temporary file, in the same
    folder because a rename is atomic only inside one file system.

    Raises:
      OSError: the folder cannot be made or written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".part-{secrets.token_hex(8)}"
    try:
        with open(temporary, "xb") as file:
            yield file
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


@functools.cache
def code_version() -> str:
    """Changes when the code that reads data does: what other code derived is not used."""
    import PIL

    digest = hashlib.sha256(PIL.__version__.encode())
    for path in sorted((Path(__file__).parent / "input_pipeline").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def limit_bytes() -> int:
    """The most that derived files and downloads may take.

    Raises:
      UserError: $JAXVISION_CACHE_GIB is no number.
    """
    text = os.environ.get("JAXVISION_CACHE_GIB") or str(LIMIT_GIB)
    try:
        gib = float(text)
    except ValueError:
        gib = -1.0
    if not 0 <= gib < 1e9:
        raise UserError(f"JAXVISION_CACHE_GIB={text!r}: give a size in GiB, 0 or more, as 20")
    return int(gib * 2**30)


def keep(path: Path, size: int, write: Callable[[BinaryIO], Any]) -> bool:
    """Writes a derived file of about `size` bytes; whether it is there now.

    Where it cannot be, for want of space or permission, the run goes on without; that is noted.
    """
    limit = limit_bytes()
    if size > limit:
        allowed = f"JAXVISION_CACHE_GIB allows {limit / 2**30:g}"
        _note(f"{size / 2**30:.2g} GiB are not cached, as {allowed}: the next start takes as long")
        return False
    try:
        with atomic_file(path) as file:
            write(file)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        _note(f"nothing is cached in {cache_dir()} ({reason}): the next start takes as long")
        return False
    use(path)
    _make_room(limit)
    return True


def use(path: Path) -> None:
    """Marks a file as used by this run, which keeps it, and just now, which makes it the newest."""
    _in_use.add(path)
    with contextlib.suppress(OSError):
        os.utime(path)


def discard(path: Path) -> None:
    """Removes a damaged file; that is noted."""
    _note(f"a damaged cache file is made anew: {path}")
    with contextlib.suppress(OSError):
        path.unlink()


def keep_json(path: Path, value: Any) -> bool:
    """`keep` of a JSON value with a checksum."""
    content = json.dumps(value).encode()
    return keep(path, len(content), lambda file: file.write(_checksum(content) + content))


def read_json(path: Path) -> Any | None:
    """What `keep_json` wrote; None where there is nothing or it is damaged, which is discarded."""
    try:
        stored = path.read_bytes()
    except OSError:
        return None
    size = len(_checksum(b""))
    if _checksum(stored[size:]) != stored[:size]:
        discard(path)
        return None
    use(path)
    return json.loads(stored[size:])


def _checksum(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode() + b"\n"


def _note(text: str) -> None:
    if text not in _noted:
        _noted.add(text)
        say(f"note: {text}")


def _make_room(limit: int) -> None:
    """Removes files, the longest unused first, until the rest fits."""
    files = []
    for part in cache_dir().glob("*/.part-*"):  # of processes that were killed
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > PARTS_STAY:
                part.unlink()
    for folder in LIMITED:
        for path in (cache_dir() / folder).glob("[!.]*"):
            with contextlib.suppress(OSError):
                stat = path.stat()
                files.append((stat.st_mtime, stat.st_size, path))
    total = sum(size for _, size, _ in files)
    for used, size, path in sorted(files):
        if total <= limit:
            return
        fresh = path.parent.name == "downloads" and time.time() - used < DOWNLOADS_STAY
        if path in _in_use or fresh:
            continue
        with contextlib.suppress(OSError):
            path.unlink()
            total -= size
