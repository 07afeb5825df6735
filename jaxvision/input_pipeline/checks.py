"""Every file decoded once before training; what is unusable or a copy is left out and counted."""

import collections
import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxvision import cache
from jaxvision.errors import UserError
from jaxvision.input_pipeline import class_masks, images, masks, parallel, pixels
from jaxvision.input_pipeline.cells import Cell
from jaxvision.input_pipeline.class_masks import Coding
from jaxvision.input_pipeline.dataset import fingerprint

BAD_FRACTION = 0.01  # more unusable examples than this fail the run
# A file that changed so shortly ago may change again without another time stamp.
RECENT_SECONDS = 2.0


class Checked(NamedTuple):
    """What decoding a file showed.

    Attributes:
      height, width: pixels, upright.
      digest: a hash of the pixels.
      error: why it cannot be used; '' where it can.
      orientation: EXIF's, by which it was turned.
      deep: a picture of more than 8 bits.
      empty: a mask without any object.
      present: of a mask of several classes, the numbers that it holds.
    """

    height: int
    width: int
    digest: str
    error: str = ""
    orientation: int = 1
    deep: bool = False
    empty: bool = False
    present: tuple[int, ...] = ()


def check_files(
    files: Sequence[tuple[str | Cell, str | Coding]],
    root: str | Path,
    value_range: Sequence[float] = (),
) -> list[Checked]:
    """Decodes every file once, in threads, and keeps the outcome for the next start.

    A file is decoded again when it changed (its size, its times or its place on the disk; of one
    that is seconds old, its content), and after an error: the cause may be gone (a permission, a
    disk) and there are few.

    Args:
      files: (path, kind) with kind 'image', 'mask' or the coding of a mask of several classes; in
        place of a path, a cell of a file.
      root: names the data set; its outcomes are in cache_dir()/checked/<hash of root>.json.
      value_range: `data.range`, of the images.

    Raises:
      UserError: value_range is none.
    """
    value_range = pixels.check_range(value_range)
    store = cache.cache_dir() / "checked" / f"{fingerprint([Path(root).resolve()])}.json"
    known = {key: _kept(fields) for key, fields in (cache.read_json(store) or {}).items()}
    keys = [_key(path, kind, value_range) for path, kind in files]
    missing = [i for i, key in enumerate(keys) if key not in known]
    fresh = {}
    checks = parallel.threaded(
        lambda i: _check(*files[i], value_range),
        missing,
        "checking images",
        parallel.cpu_threads(),
    )
    try:
        for i, checked in zip(missing, checks, strict=True):
            fresh[i] = checked
    finally:  # also after Ctrl-C: what was decoded need not be again
        if fresh:
            known.update({keys[i]: checked for i, checked in fresh.items() if not checked.error})
            cache.keep_json(store, {key: known[key] for key in keys if key in known})
    return [fresh[i] if i in fresh else known[key] for i, key in enumerate(keys)]


def _key(path: str | Cell, kind: str | Coding, value_range: Sequence[float]) -> str:
    """Everything that an outcome depends on; '' where the file cannot be read."""
    try:
        stat = os.stat(path)
        content = ""
        if abs(time.time() - max(stat.st_mtime, stat.st_ctime)) < RECENT_SECONDS:
            content = hashlib.blake2b(Path(path).read_bytes(), digest_size=16).hexdigest()
    except OSError:
        return ""  # never stored: the check itself names the error
    # A program may set st_mtime back, but not st_ctime.
    state = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, content)
    stated = value_range if kind == "image" else ()
    return f"{cache.code_version()} {kind} {stated} {state} {path}"


def _kept(fields: Sequence[Any]) -> Checked:
    """What JSON made of a Checked."""
    checked = Checked(*fields)
    return checked._replace(present=tuple(checked.present))


def _check(path: str | Cell, kind: str | Coding, value_range: Sequence[float]) -> Checked:
    try:
        outcome = _read(path, kind, value_range)
    except UserError as error:
        return Checked(0, 0, "", str(error).removeprefix(f"{path}: "))
    decoded = outcome.pixels
    digest = hashlib.blake2b(str(decoded.shape).encode(), digest_size=16)
    digest.update(decoded.data)
    height, width = decoded.shape[:2]
    return Checked(
        height,
        width,
        digest.hexdigest(),
        "",
        outcome.orientation,
        kind == "image" and outcome.deep,
        kind != "image" and not decoded.any(),
        class_masks.present(decoded) if isinstance(kind, Coding) else (),
    )


def _read(path: str | Cell, kind: str | Coding, value_range: Sequence[float]) -> Any:
    if kind == "image":
        return images.read_picture(path, value_range)
    return masks.read_mask(path) if kind == "mask" else class_masks.read_mask(path, kind)


def range_notes(checked: Sequence[Checked], value_range: Sequence[float]) -> list[str]:
    """What to log of `data.range`, which is for pictures of more than 8 bits.

    Raises:
      UserError: it is stated, and there are none.
    """
    usable = [c for c in checked if not c.error]
    shallow = sum(not c.deep for c in usable)
    if not value_range or not shallow:
        return []
    if shallow == len(usable):
        raise UserError(
            f"data.range={tuple(value_range)} is for pictures of more than 8 bits, and all "
            f"{shallow} here have 8: leave it out"
        )
    return [f"{shallow} of {len(usable)} pictures have 8 bits: data.range does not change them"]


def skip_problems(problems: Sequence[str], total: int, where: str) -> list[str]:
    """Notes on the examples left out, which are few, or an error.

    Args:
      problems: one '<file>: <reason>' an example that cannot be used.
      total: how many examples there are, these included.
      where: the data set, for the message.

    Raises:
      UserError: more than BAD_FRACTION of the examples cannot be used.
    """
    if not problems:
        return []
    listed = "; ".join(problems[:5])
    more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
    count = f"{len(problems)} of {total} examples in {where}"
    if len(problems) > BAD_FRACTION * total:
        raise UserError(
            f"{count} cannot be used (at most 1 % may be skipped): {listed}{more}. "
            "Put these files right or remove them"
        )
    return [f"skipped {count}: {listed}{more}"]


def drop_duplicates(
    digests: dict[str, Sequence[str]],
) -> tuple[dict[str, list[int]], list[str]]:
    """Keeps exact copies of an image out of the splits that come before in use.

    Args:
      digests: {split: one hash an example}.

    Returns:
      {split: indices kept} and notes: an example of train that is also in val or test is dropped,
      as is one of val that is also in test. Copies inside a split stay, and are counted.
    """
    later, kept, notes = {}, {}, []
    for split in ("test", "val", "train"):
        own = digests.get(split, ())
        kept[split] = [i for i, digest in enumerate(own) if digest not in later]
        against = collections.Counter(later[digest] for digest in own if digest in later)
        notes += [
            f"dropped {against[other]} of {len(own)} {split} images: exact copies are in {other}"
            for other in ("val", "test")
            if against[other]
        ]
        unique = {own[i] for i in kept[split]}
        if extra := len(kept[split]) - len(unique):
            notes.append(f"{extra} of {len(kept[split])} {split} images are copies inside {split}")
        later.update(dict.fromkeys(unique, split))
    return {split: kept[split] for split in digests}, notes
