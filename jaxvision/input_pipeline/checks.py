"""Every file decoded once before training; what is unusable or a copy is left out and counted."""

import collections
import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jaxvision import cache
from jaxvision.errors import UserError
from jaxvision.input_pipeline import images, parallel
from jaxvision.input_pipeline.dataset import fingerprint

BAD_FRACTION = 0.01  # more unusable examples than this fail the run
_DECODERS = {"image": images.decode_image, "mask": images.decode_mask}
_VERSION = 1  # raise it when decoding changes: old outcomes are then not used


class Checked(NamedTuple):
    """What decoding a file showed: its size in pixels and a hash of its pixels, or the error."""

    height: int
    width: int
    digest: str
    error: str


def check_files(files: Sequence[tuple[str, str]], root: str | Path) -> list[Checked]:
    """Decodes every file once, in threads, and keeps the outcome for the next start.

    A file is decoded again when its size or modification time changed, and after an error: the
    cause may be gone (a permission, a disk) and there are few.

    Args:
      files: (path, kind) with kind 'image' or 'mask'.
      root: names the data set; its outcomes are in cache_dir()/checked/<hash of root>.json.
    """
    store = cache.cache_dir() / "checked" / f"{fingerprint([Path(root).resolve()])}.json"
    known = _read_outcomes(store)
    keys = [_key(path, kind) for path, kind in files]
    missing = [i for i, key in enumerate(keys) if key not in known]
    fresh = {}
    checks = parallel.threaded(
        lambda i: _check(*files[i]), missing, "checking images", parallel.cpu_threads()
    )
    try:
        for i, checked in zip(missing, checks, strict=True):
            fresh[i] = checked
    finally:  # also after Ctrl-C: what was decoded need not be again
        if fresh:
            known.update({keys[i]: checked for i, checked in fresh.items() if not checked.error})
            current = {key: known[key] for key in keys if key in known}
            with contextlib.suppress(OSError), cache.atomic_file(store) as file:
                file.write(json.dumps({key: c[:3] for key, c in current.items()}).encode())
    return [fresh[i] if i in fresh else known[key] for i, key in enumerate(keys)]


def _key(path: str, kind: str) -> str:
    try:
        stat = os.stat(path)
    except OSError:
        return ""  # never stored: the check itself names the error
    return f"{_VERSION} {kind} {stat.st_size} {stat.st_mtime_ns} {path}"


def _read_outcomes(store: Path) -> dict[str, Checked]:
    """The stored outcomes; empty where there are none or the file is damaged."""
    try:
        stored = json.loads(store.read_bytes())
        known = {
            key: Checked(int(height), int(width), str(digest), "")
            for key, (height, width, digest) in stored.items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
    return known


def _check(path: str, kind: str) -> Checked:
    try:
        pixels = _DECODERS[kind](path)
    except UserError as error:
        return Checked(0, 0, "", str(error).removeprefix(f"{path}: "))
    digest = hashlib.blake2b(str(pixels.shape).encode(), digest_size=16)
    digest.update(pixels.data)
    return Checked(pixels.shape[0], pixels.shape[1], digest.hexdigest(), "")


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
