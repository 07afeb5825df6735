"""The user's own images in one folder a class.

    photos/<class>/*.jpg                              split by a hash, each class alike
    photos/train/<class>/*.jpg  photos/test/<class>/  any of train, val and test

The folders' names are the classes, in alphabetical order.
"""

import os
from pathlib import Path
from typing import Any

from jaxvision.errors import UserError
from jaxvision.input_pipeline import labelled
from jaxvision.input_pipeline.dataset import Dataset
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


def load(config: Any) -> Dataset:
    """Reads the class folders in config.data.path; rows as `labelled.make_dataset` gives them.

    Raises:
      UserError: no such folder, no classes in it, a class without images, a class of val or test
        that train does not have, or more than 1 % of the images cannot be read.
    """
    path = Path(config.data.path).expanduser()
    if not path.is_dir():
        raise UserError(f"data.path={str(path)!r} is no folder: give one that holds class folders")
    roots = {p: SPLIT_NAMES[p.name.lower()] for p in _folders(path) if _is_split(p)}
    splits = roots or {path: ""}
    classes = _classes(splits, path)
    files = [
        (image, folder.name, split)
        for root, split in splits.items()
        for folder in _folders(root)
        for image in _images(folder)
    ]
    examples, notes = labelled.check_images(files, path)
    others = [p.name for p in _folders(path) if p not in roots] if roots else []
    if others:
        notes.append(f"beside {', '.join(p.name for p in roots)}, not read: {', '.join(others)}")
    return labelled.make_dataset(examples, classes, notes, str(path), config)


def _folders(path: Path) -> list[Path]:
    """Subfolders in order of name; hidden ones, and what macOS adds to archives, left out."""
    with os.scandir(path) as entries:
        names = sorted(e.name for e in entries if e.is_dir())
    return [path / name for name in names if name[0] != "." and name != "__MACOSX"]


def _is_split(path: Path) -> bool:
    """Whether a folder is a split; one with images of its own is a class of that name."""
    return path.name.lower() in SPLIT_NAMES and bool(_folders(path))


def _images(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        names = sorted(e.name for e in entries if e.is_file())
    names = [n for n in names if n[0] != "." and n.lower().endswith(EXTENSIONS)]
    if not names:
        raise UserError(
            f"class folder {folder} holds no image ({', '.join(EXTENSIONS)}): add some, or "
            "remove the folder"
        )
    return [folder / name for name in names]


def _classes(splits: dict[Path, str], path: Path) -> list[str]:
    """Names of the classes: those of train where there is a train."""
    found = {root: [p.name for p in _folders(root)] for root in splits}
    first = next((root for root, split in splits.items() if split == "train"), None)
    classes = found[first] if first else sorted({n for names in found.values() for n in names})
    if len(classes) < 2:
        raise UserError(
            f"{first or path} holds {len(classes)} class folders: at least two are needed, each "
            "with the images of one class"
        )
    for root, names in found.items():
        unknown = [name for name in names if name not in classes]
        if unknown:
            raise UserError(
                f"{root} has class {', '.join(unknown)}, which train lacks (it has "
                f"{', '.join(classes)}): add it there, or remove it here"
            )
    return classes
