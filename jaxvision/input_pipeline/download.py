"""Files from http(s) addresses: fetched once into the cache, or read into memory."""

import contextlib
import hashlib
import http.client
import io
import math
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from jaxvision import cache
from jaxvision.errors import FileError, UserError
from jaxvision.input_pipeline import parallel

THREADS = 8
SILENCE_SECONDS = 30.0  # without a byte from the server
FILE_SECONDS = 900.0  # for one file in all: a server that drips never trips the limit above
RETRY_SECONDS = (0.5, 2.0)  # waited before the second and the third try
_PIECE = 1 << 20


class Download(NamedTuple):
    """`path` where the file lies, or `error` why it does not."""

    path: Path
    error: str


def is_url(text: str) -> bool:
    return text.lower().startswith(("http://", "https://"))


def fetch_all(urls: Sequence[str]) -> dict[str, Download]:
    """{url: Download}; files that are already in cache_dir()/downloads are not asked for again.

    Raises:
      UserError: the cache folder cannot be written.
    """
    folder = cache.cache_dir() / "downloads"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise UserError(f"cannot write to {folder}; set JAXVISION_CACHE to a folder you can write")
    unique = list(dict.fromkeys(urls))
    fetched = parallel.threaded(
        lambda url: _fetch(url, _place(folder, url)), unique, "downloading files", THREADS
    )
    return dict(zip(unique, fetched, strict=True))


def forget(file: str | Path) -> None:
    """Removes a download that turned out unusable, so that the next start asks the server again.

    A file that is not a download is left alone.
    """
    if Path(file).parent == cache.cache_dir() / "downloads":
        with contextlib.suppress(OSError):
            os.unlink(file)


def _place(folder: Path, url: str) -> Path:
    """The name is a hash: addresses hold characters and lengths that file names may not."""
    extension = os.path.splitext(url.partition("?")[0])[1].lower()
    extension = extension if extension[1:].isalnum() and len(extension) <= 6 else ""
    return folder / (hashlib.sha256(url.encode()).hexdigest()[:32] + extension)


def read_bytes(url: str, max_bytes: int) -> bytes:
    """What an address gives, without a copy in the cache.

    Raises:
      FileError: '<reason>': the server does not give it, or it is too large.
    """
    content = io.BytesIO()
    if error := _with_retries(lambda: _read_once(url, content, max_bytes)):
        raise FileError(f"not downloaded: {error}")
    return content.getvalue()


def _fetch(url: str, place: Path) -> Download:
    if place.exists():
        return Download(place, "")
    error = _with_retries(lambda: _fetch_once(url, place))
    return Download(place, f"not downloaded: {error}" if error else "")


def _with_retries(get: Callable[[], None]) -> str:
    """'' once `get` has succeeded, or why it did not."""
    reason = ""
    for wait in (*RETRY_SECONDS, None):
        try:
            get()
            return ""
        except UserError as error:  # asking again is no use
            return str(error)
        except urllib.error.HTTPError as error:
            reason = f"HTTP {error.code} {error.reason}"
            if error.code < 500 and error.code not in (408, 429):
                break  # the server means it: asking again is no use
        # ValueError: an address that cannot be parsed, as 'http://[x'.
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = " ".join(f"{getattr(error, 'reason', None) or error or 'no answer'}".split())
            if isinstance(error, (ValueError, http.client.InvalidURL)):
                break
        if wait is not None:
            time.sleep(wait)
    return reason


def _fetch_once(url: str, place: Path) -> None:
    with cache.atomic_file(place) as file:
        _read_once(url, file)


def _read_once(url: str, file: BinaryIO, max_bytes: float = math.inf) -> None:
    """Writes what an address gives into `file`, from its start."""
    quoted = urllib.parse.quote(url, safe="%/:=&?~#+!$,;'@()*[]")  # spaces and letters like ü
    request = urllib.request.Request(quoted, headers={"User-Agent": "jaxvision"})
    deadline = time.monotonic() + FILE_SECONDS
    file.seek(0)
    file.truncate()
    with urllib.request.urlopen(request, timeout=SILENCE_SECONDS) as response:
        size = 0
        while piece := response.read1(_PIECE):  # read() would wait for a whole piece
            size += len(piece)
            if size > max_bytes:
                raise FileError(f"more than {max_bytes:,} bytes")
            file.write(piece)
            if time.monotonic() > deadline:
                raise TimeoutError(f"over {FILE_SECONDS:.0f} s")
        expected = response.headers.get("Content-Length")
        if expected is not None and size != int(expected):
            raise ConnectionError(f"{size} of {expected} bytes came")
