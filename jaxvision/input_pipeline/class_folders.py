"""The user's own images in one folder a class.

    photos/<class>/*.jpg                              split by a hash, each class alike
    photos/train/<class>/*.jpg  photos/test/<class>/  any of train, val and test

The folders' names are the classes, in alphabetical order; `folders` says what a split is called
and what is left out.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxvision.errors import UserError
from jaxvision.input_pipeline import folders, labelled
from jaxvision.input_pipeline.dataset import Dataset
from jaxvision.input_pipeline.folders import Folder
from jaxvision.input_pipeline.images import EXTENSIONS


def load(config: Any) -> Dataset:
    """Reads the class folders in config.data.path; rows as `labelled.make_dataset` gives them.

    Raises:
      UserError: no such folder, no classes in it, a class without images, a class of val or test
        that train does not have, or more than 1 % of the images cannot be read.
    """
    path = Path(config.data.path).expanduser()
    if not path.is_dir():
        raise UserError(f"data.path={str(path)!r} is no folder: give one that holds class folders")
    seen = set()
    top = folders.read_folder(path, seen)
    splits = folders.split_folders(top)
    roots = [(folders.read_folder(place, seen), split) for place, split in splits.items()]
    unused = [p for p in (*top.folders, *top.pictures, *top.others) if p not in splits]
    if not splits:
        roots, unused = [(top, "")], []
    classes = _classes(roots, path)
    files = []
    for root, split in roots:
        unused += [*root.pictures, *root.others]
        for place in root.folders:
            level = folders.read_folder(place, seen)
            _check_pictures(level)
            unused += [*level.folders, *level.others]
            files += [(image, place.name, split) for image in level.pictures]
    examples, notes = labelled.check_images(files, path, config.data.range)
    notes += folders.left_out(unused, path)
    return labelled.make_dataset(examples, classes, notes, str(path), config)


def _check_pictures(level: Folder) -> None:
    if not level.pictures:
        below = ", ".join(f"{place.name}/" for place in level.folders[:3])
        below = f", only folders ({below}), which are not read" if below else ""
        raise UserError(
            f"class folder {level.path} holds no image ({', '.join(EXTENSIONS)}){below}: add some, "
            "or remove the folder"
        )


def _classes(roots: Sequence[tuple[Folder, str]], path: Path) -> list[str]:
    """Names of the classes: those of train where there is a train."""
    classes_of = {root.path: sorted(place.name for place in root.folders) for root, _ in roots}
    for root, split in roots:
        if split and root.pictures and not root.folders:
            raise UserError(
                f"{root.path} holds {len(root.pictures)} pictures and no class folders: sort them "
                "into folders, one a class"
            )
    first = next((root.path for root, split in roots if split == "train"), None)
    classes = (
        classes_of[first] if first else sorted({n for names in classes_of.values() for n in names})
    )
    if len(classes) < 2:
        raise UserError(
            f"{first or path} holds {len(classes)} class folders: at least two are needed, each "
            "with the images of one class"
        )
    for root, names in classes_of.items():
        unknown = [name for name in names if name not in classes]
        if unknown:
            raise UserError(
                f"{root} has class {', '.join(unknown)}, which train lacks (it has "
                f"{', '.join(classes)}): add it there, or remove it here"
            )
    return classes
