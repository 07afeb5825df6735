"""Pictures whose outlines stand in one json file: COCO annotations, or GeoJSON footprints of all.

aerial/annotations/instances_train2017.json  aerial/train2017/*.jpg      as COCO is published
aerial/train/_annotations.coco.json  aerial/train/*.jpg                  as tools export it
aerial/annotations.json  aerial/images/*.jpg                             split by name
aerial/footprints.geojson  aerial/images/*.tif                           georeferenced pictures
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxvision.errors import UserError
from jaxvision.input_pipeline import folders
from jaxvision.input_pipeline.folders import SPLIT_NAMES, Folder
from jaxvision.input_pipeline.readers.aerial import coco, geojson
from jaxvision.input_pipeline.readers.aerial.listing import Example, Listing, first_names

EXTENSIONS = (".json", ".geojson")


def annotation_files(level: Folder) -> list[Path]:
    """The json files that lie directly in a folder."""
    return [path for path in level.others if path.suffix.lower() in EXTENSIONS and path.is_file()]


def find(top: Folder) -> dict[Path, str]:
    """{json file: its split, '' for none} of a folder that has annotations of the whole.

    Those of COCO's annotations/ that are of objects, else those in the folder itself.

    Raises:
      UserError: it is not known which of several files to read.
    """
    place = next((p for p in top.folders if p.name.lower() == "annotations"), None)
    level = folders.read_folder(place) if place else top
    files = annotation_files(level)
    files = [path for path in files if path.name.startswith("instances")] or files
    found = {path: _split_in(path.stem) for path in files}
    if len(found) > 1 and (len({*found.values()}) < len(found) or "" in found.values()):
        raise UserError(
            f"{level.path} holds {first_names(p.name for p in files)}: leave one, or one a split "
            "with train, val or test in its name"
        )
    return found


def _split_in(name: str) -> str:
    """The split that a word of a name says: 'val' for instances_val2017."""
    words = re.findall(r"[a-z]+", name.lower())
    return next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), "")


def list_file(path: Path, root: Path, split: str, options: Any) -> Listing:
    """The examples of one json file.

    Args:
      path: of it.
      root: of the data set: pictures are looked for beside the file, in images/ there, and the same
        from the root, where folders may also be named after the split.
      split: '' where there is none.
      options: `config.data`.

    Raises:
      UserError: the file or its pictures cannot be used.
    """
    content = geojson.load_json(path)
    places = _places(path, root, split or _split_in(path.stem))
    if coco.is_coco(content):
        return _list_coco(content, path, root, places, split, options)
    if geojson.is_geojson(content):
        return _list_geojson(content, path, root, places, split, options)
    raise UserError(
        f"{path} holds neither COCO annotations (images, annotations, categories) nor GeoJSON "
        "features; leave it out, or put masks/ beside images/"
    )


def _places(path: Path, root: Path, split: str) -> list[Path]:
    """Folders where pictures may lie, the likeliest first."""
    tops = list(dict.fromkeys([path.parent, root]))
    named = [
        place
        for top in [*tops, *(top / "images" for top in tops)]
        if top.is_dir()
        for place in folders.read_folder(top).folders
        if split and _split_in(place.name) == split
    ]
    inner = [place / "images" for place in named]
    return [*named, *inner, *(top / "images" for top in tops), *tops]


def _list_coco(content, path, root, places, split, options) -> Listing:
    found, notes = coco.read(content, path, options.classes)
    if not found:
        raise UserError(f"{path} lists no pictures")
    names = [Path(picture.file_name).stem for picture in found]
    by_stem = len(set(names)) == len(names)
    examples, problems, used = [], [], {}
    for picture in found:
        file = next(
            (p for p in (place / picture.file_name for place in places) if p.is_file()), None
        )
        label = f"{picture.file_name} in {path.name}"
        if picture.problem or file is None:
            lies = dict.fromkeys(str(place) for place in places if place.is_dir())
            problems.append(f"{label}: {picture.problem or 'not in ' + ' or '.join(lies)}")
            continue
        used.setdefault(file.parent, set()).add(file)
        key = Path(picture.file_name)
        key = key.stem if by_stem else str(key.with_suffix("")).replace("/", "_")
        shown = str(file.relative_to(root)) if file.is_relative_to(root) else str(file)
        examples.append(Example(key, key, split, str(file), picture.drawing, shown, label))
    others = [p for place in used for p in folders.read_folder(place).pictures]
    others = [p for p in others if p not in used[p.parent]]
    if others:
        listed = first_names(p.name for p in others)
        notes.append(f"{len(others)} pictures are not in {path.name}: {listed}")
    return Listing(examples, problems, len(found), notes)


def _list_geojson(content, path, root, places, split, options) -> Listing:
    levels = [folders.read_folder(place) for place in places if place.is_dir()]
    pictures = next((level.pictures for level in levels if level.pictures), [])
    if not pictures:
        raise UserError(f"{path} is of no pictures: put georeferenced ones into images/ beside it")
    footprints = geojson.read(content, path, options.classes, options.class_property)
    drawings = geojson.draw_all(footprints, pictures)
    examples = [
        Example(
            stem, stem, split, str(p), drawing, str(p.relative_to(root)), f"{p.name} in {path.name}"
        )
        for (stem, p), drawing in zip(folders.by_stem(pictures).items(), drawings, strict=True)
    ]
    return Listing(examples, [], len(pictures), footprints.notes)


def draw_files(listing: Listing, options: Any) -> Listing:
    """A listing whose masks that are GeoJSON files, one a picture, are read as drawings."""
    examples, problems, notes = [], [], []
    for example in listing.examples:
        mask = example.mask
        if isinstance(mask, str) and mask.lower().endswith(EXTENSIONS):
            try:
                example, more = _with_drawing(example, options)
            except UserError as error:
                problems.append(f"{example.mask_label}: {error}")
                continue
            notes += more
        examples.append(example)
    return listing._replace(
        examples=examples,
        problems=[*listing.problems, *problems],
        notes=[*listing.notes, *_shortened(notes)],
    )


def _with_drawing(example: Example, options: Any) -> tuple[Example, list[str]]:
    path = Path(example.mask)
    footprints = geojson.read(
        geojson.load_json(path), path, options.classes, options.class_property
    )
    drawing = geojson.drawing_of(footprints, Path(example.image))
    return example._replace(mask=drawing), footprints.notes


def _shortened(notes: Sequence[str]) -> list[str]:
    """The first of many notes alike."""
    more = [f"and {len(notes) - 3} more GeoJSON files are so"] if len(notes) > 3 else []
    return [*notes[:3], *more]
