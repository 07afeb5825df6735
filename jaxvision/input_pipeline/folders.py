"""The one way to walk a folder of the user's: what is read, in which order, and what is left out.

  - Folders called train, training, val, valid, validation, test or testing, in any case, are
    splits, in every system.
  - Pictures are files with one of `images.EXTENSIONS`, in any case.
  - Hidden files and folders, and what macOS and Windows add, do not count as anything.
  - Links are followed, but no folder is read twice, so loops end.
  - Names come in natural order: img_2 before img_10.
Whatever else lies there is left out, and counted and named in the data set's notes.
"""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxvision.errors import UserError
from jaxvision.input_pipeline.images import EXTENSIONS

# What the splits' folders are called, in lower case.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
SYSTEM_NAMES = ("__macosx", "thumbs.db", "desktop.ini")
SHOWN = 5  # names in a note
COUNTED = 100_000  # files in folders that are left out; beyond, their number does not matter


class Folder(NamedTuple):
    """One level of a folder; every list in natural order.

    Attributes:
      path: of it.
      folders: in it, that are to be read.
      pictures: files that may hold one, by their extension.
      others: all else: files of other kinds, broken links, links to folders that were read before.
    """

    path: Path
    folders: list[Path]
    pictures: list[Path]
    others: list[Path]


def read_folder(path: Path, seen: set[Path] | None = None) -> Folder:
    """Looks into one folder.

    Args:
      path: of it.
      seen: resolved folders that the walk has met; those found here are added. None: a new walk.

    Raises:
      UserError: it cannot be read.
    """
    seen = set() if seen is None else seen
    try:
        seen.add(path.resolve())
        with os.scandir(path) as entries:
            inside = [entry for entry in entries if not is_hidden(entry.name)]
    except OSError as error:
        raise UserError(
            f"cannot read the folder {path}: {(error.strerror or '').lower()}"
        ) from error
    folders, pictures, others = [], [], []
    # Folders before links to them, so that a link is what is left out.
    for entry in sorted(inside, key=lambda e: (e.is_symlink(), natural(e.name))):
        kind, place = _kind(entry), path / entry.name
        if kind == "folder":
            resolved = place.resolve()
            (others if resolved in seen else folders).append(place)
            seen.add(resolved)
        elif kind == "file" and entry.name.lower().endswith(EXTENSIONS):
            pictures.append(place)
        else:
            others.append(place)
    return Folder(path, *(in_order(paths) for paths in (folders, pictures, others)))


def _kind(entry: os.DirEntry) -> str:
    try:
        return "folder" if entry.is_dir() else "file" if entry.is_file() else ""
    except OSError:  # a link to itself, say
        return ""


def is_hidden(name: str) -> bool:
    """Whether a name is hidden, or one that macOS or Windows puts beside files of the user's."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def natural(name: str) -> list:
    """A key that sorts img_2 before img_10."""
    parts = re.split(r"(\d+)", name)
    return [(not part.isdecimal(), int(part) if part.isdecimal() else part) for part in parts]


def in_order(paths: Iterable[Path]) -> list[Path]:
    """Paths in natural order of their names."""
    return sorted(paths, key=lambda path: natural(path.name))


def split_folders(folder: Folder) -> dict[Path, str]:
    """{subfolder: split} of those that are called like one, in the order train, val, test.

    Raises:
      UserError: two are the same split.
    """
    places = {}
    for place in folder.folders:
        split = SPLIT_NAMES.get(place.name.lower())
        if split in places:
            raise UserError(
                f"{folder.path} holds {places[split].name}/ and {place.name}/, which are both "
                f"{split}: merge them, or remove one"
            )
        if split:
            places[split] = place
    return {places[split]: split for split in ("train", "val", "test") if split in places}


def split_of(path: Path, root: Path) -> str:
    """The split that a folder between `root` and a file says, 'train', 'val' or 'test'; else ''."""
    try:
        parts = path.relative_to(root).parts[:-1]
    except ValueError:
        return ""
    return next((SPLIT_NAMES[p.lower()] for p in parts if p.lower() in SPLIT_NAMES), "")


def by_stem(pictures: Sequence[Path]) -> dict[str, Path]:
    """{name without extension: path}, in the same order.

    Raises:
      UserError: two have the same, so a mask or a score cannot be matched to one of them.
    """
    stems = {}
    for path in pictures:
        if path.stem in stems:
            raise UserError(
                f"{path.parent} holds both {stems[path.stem].name} and {path.name}: files are "
                "matched by name without extension; remove or rename one"
            )
        stems[path.stem] = path
    return stems


def left_out(paths: Sequence[Path], root: Path) -> list[str]:
    """A note that counts files, those in folders too, and names the first; [] for none."""
    if not paths:
        return []
    count, names, seen = 0, [], set()
    for path in sorted(paths, key=lambda p: (_is_real_folder(p), natural(str(p)))):
        name = str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
        if _is_real_folder(path):
            inside = _count(path, seen)
            count += inside
            names.append(f"{name}/ ({inside})")
        else:
            count += 1
            names.append(name)
    more = ", ..." if len(names) > SHOWN else ""
    return [f"{count} files left out: {', '.join(names[:SHOWN])}{more}"]


def _is_real_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _count(folder: Path, seen: set[Path]) -> int:
    """Files in a folder and all below it, up to COUNTED."""
    count, waiting = 0, [folder]
    while waiting and count < COUNTED:
        try:
            level = read_folder(waiting.pop(), seen)
        except UserError:  # cannot be read: nothing of it is used anyway
            continue
        count += len(level.pictures) + len(level.others)
        waiting += level.folders
    return count
