"""Which image goes with which mask: read from folders or from a csv, nothing decoded yet."""

import collections
import csv
import os
from pathlib import Path
from typing import Any, NamedTuple

from jaxvision.errors import UserError
from jaxvision.input_pipeline import download, folders, images
from jaxvision.input_pipeline.folders import SPLIT_NAMES
from jaxvision.input_pipeline.readers.aerial import annotated
from jaxvision.input_pipeline.readers.aerial.listing import Example, Listing, first_names

PARTS = ("images", "masks")


def list_examples(path: Path, options: Any) -> Listing:
    """The examples of a folder, a csv or COCO's json; files named by addresses are downloaded.

    Args:
      path: of the data set.
      options: `config.data`, whose `classes` and `class_property` say which outlines are meant.

    Raises:
      UserError: the path does not exist, is of another kind, or holds no examples.
    """
    if not path.exists():
        raise UserError(f"data.path {path} does not exist; give a folder or a csv")
    if path.is_dir():
        listing = _list_folder(path, options)
    elif path.suffix.lower() == ".csv":
        listing = _list_csv(path)
    elif path.suffix.lower() in annotated.EXTENSIONS:
        root = path.parent.parent if path.parent.name == "annotations" else path.parent
        listing = annotated.list_file(path, root, "", options)
    else:
        raise UserError(
            f"data.path {path} is neither a folder nor a csv; give a folder with images/ and "
            "masks/, a csv with columns image,mask, or a json of COCO annotations"
        )
    return annotated.draw_files(listing, options)


def _list_folder(root: Path, options: Any) -> Listing:
    seen = set()
    top = folders.read_folder(root, seen)
    splits = folders.split_folders(top)
    own = [place for place in top.folders if place.name in PARTS]
    if files := _annotation_files(top, splits):
        return _list_annotated(top, files, options)
    if splits and own:
        raise UserError(
            f"{root} holds {own[0].name}/ beside {next(iter(splits)).name}/; move it into train/, "
            "val/ or test/, or these folders elsewhere"
        )
    if not splits and not own:
        raise UserError(
            f"{root} holds nothing usable: it needs images/ and masks/, or train/images and "
            f"train/masks; it has {first_names(p.name for level in top[1:] for p in level)}"
        )
    places = splits or {root: ""}
    unused = [p for level in top[1:] for p in level if p not in splits and p not in own]
    listings = [_list_pair(root, place, split, seen, unused) for place, split in places.items()]
    notes = [note for listing in listings for note in listing.notes]
    return Listing(
        examples=[example for listing in listings for example in listing.examples],
        problems=[problem for listing in listings for problem in listing.problems],
        total=sum(listing.total for listing in listings),
        notes=notes + folders.left_out(unused, root),
    )


def _annotation_files(top: folders.Folder, splits: dict[Path, str]) -> dict[Path, str]:
    """{json file: split} where these say what masks/ would.

    Raises:
      UserError: which of several files is meant is not known; a split has none where another has.
    """
    levels = {split: folders.read_folder(place) for place, split in splits.items()}
    if any(place.name == "masks" for level in (top, *levels.values()) for place in level.folders):
        return {}
    found = {split: annotated.annotation_files(level) for split, level in levels.items()}
    if not any(found.values()):
        return annotated.find(top)
    for split, files in found.items():
        if len(files) != 1:
            raise UserError(
                f"{levels[split].path} holds {first_names(p.name for p in files)}: needed is one "
                "json file of annotations, as the other splits have"
            )
    return {files[0]: split for split, files in found.items()}


def _list_annotated(top: folders.Folder, files: dict[Path, str], options: Any) -> Listing:
    """The examples of COCO's or GeoJSON's files."""
    root = top.path
    listings = [annotated.list_file(path, root, split, options) for path, split in files.items()]
    examples = [example for listing in listings for example in listing.examples]
    used = {part for e in examples for part in Path(e.image).parents} | {p.parent for p in files}
    unused = [p for level in top[1:] for p in level if p not in files and p not in used]
    unused = [
        p for p in unused if p.suffix.lower() not in images.EXTENSIONS or p.parent not in used
    ]
    return Listing(
        examples=examples,
        problems=[problem for listing in listings for problem in listing.problems],
        total=sum(listing.total for listing in listings),
        notes=[n for listing in listings for n in listing.notes] + folders.left_out(unused, root),
    )


def _list_pair(root: Path, place: Path, split: str, seen: set[Path], unused: list) -> Listing:
    """The examples of the images/ and masks/ in `place`; adds to `unused` what is left out."""
    for part, other in (PARTS, PARTS[::-1]):
        if not (place / part).is_dir():
            has = f"has {other}/ but no {part}/" if (place / other).is_dir() else f"has no {part}/"
            raise UserError(f"{place} {has}; put the {part} there, each with the name of its mask")
    if place != root:
        level = folders.read_folder(place, seen)
        unused += [p for listed in level[1:] for p in listed if p.name not in PARTS]
    levels = [folders.read_folder(place / part, seen) for part in PARTS]
    drawn = [p for p in levels[1].others if p.suffix.lower() == ".geojson"]
    unused += [p for level in levels for p in (*level.folders, *level.others) if p not in drawn]
    listed = folders.by_stem(levels[0].pictures)
    masks = folders.by_stem(folders.in_order([*levels[1].pictures, *drawn]))
    if not listed:
        raise UserError(
            f"{place / 'images'} holds no images ({', '.join(images.EXTENSIONS)}); it has "
            f"{first_names(os.listdir(place / 'images'))}"
        )
    examples, problems = [], []
    for stem, image in listed.items():
        label = str(image.relative_to(root))
        if stem not in masks:
            where = (place / "masks").relative_to(root)
            problems.append(f"{label} has no mask named {stem}.* in {where}/")
            continue
        mask = masks.pop(stem)
        mask_label = str(mask.relative_to(root))
        examples.append(Example(stem, stem, split, str(image), str(mask), label, mask_label))
    notes = []
    if masks:
        first = first_names(mask.name for mask in masks.values())
        notes.append(f"{len(masks)} masks in {place / 'masks'} have no image: {first}")
    return Listing(examples, problems, len(listed), notes)


class _Row(NamedTuple):
    number: int  # in the file, the header being row 1, as a spreadsheet shows it
    image: str
    mask: str
    split: str


def _list_csv(path: Path) -> Listing:
    rows, notes = _read_rows(path)
    urls = [text for row in rows for text in (row.image, row.mask) if download.is_url(text)]
    fetched = download.fetch_all(urls) if urls else {}
    stems = [_stem(row.image) for row in rows]
    # Names that repeat (scene_1/image.png, scene_2/image.png) would all fall in one split.
    by_stem = len(set(stems)) == len(stems)
    uses = collections.Counter(stems)
    examples, problems = [], []
    for row, stem in zip(rows, stems, strict=True):
        files, errors = [], []
        for column, text in (("image", row.image), ("mask", row.mask)):
            if not text:
                errors.append(f"row {row.number}: no {column} is given")
            elif text in fetched:
                files.append(str(fetched[text].path))
                if fetched[text].error:
                    errors.append(f"row {row.number}: {text}: {fetched[text].error}")
            else:
                files.append(str(path.parent / Path(text).expanduser()))
        if errors:
            problems.append(", ".join(errors))
            continue
        name = stem if uses[stem] == 1 else f"{stem}_row{row.number}"
        key = stem if by_stem else os.path.splitext(row.image)[0]
        labels = [f"row {row.number}: {text}" for text in (row.image, row.mask)]
        examples.append(Example(name, key, row.split, *files, *labels))
    return Listing(examples, problems, len(rows), notes)


def _stem(text: str) -> str:
    """The name without folder and extension; for an address its query too, which may be the id."""
    if not download.is_url(text):
        return Path(text).stem
    address, mark, query = text.partition("?")
    return Path(address).stem + mark + query


def _read_rows(path: Path) -> tuple[list[_Row], list[str]]:
    """The rows that are not blank, and a note on columns that are not used.

    Raises:
      UserError: no text in UTF-8, no such columns, no rows, a split of another name.
    """
    try:
        # utf-8-sig: spreadsheets put a byte order mark first.
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {path} as csv in UTF-8: {error}") from error
    header = [name.strip().lower() for name in lines[0]] if lines else []
    columns = next(
        (pair for pair in (("image", "mask"), ("image_url", "mask_url")) if set(pair) <= {*header}),
        None,
    )
    if columns is None:
        raise UserError(
            f"{path} has no columns image,mask or image_url,mask_url in its first row; found: "
            f"{', '.join(header) or 'nothing'}"
        )
    places = [header.index(name) for name in columns]
    split_place = header.index("split") if "split" in header else None
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        if not any(cell.strip() for cell in line):
            continue
        cells = [cell.strip() for cell in line] + [""] * len(header)  # short rows too
        split = cells[split_place].lower() if split_place is not None else ""
        if split_place is not None and split not in SPLIT_NAMES:
            raise UserError(f"{path} row {number}: split {split!r} is not train, val or test")
        split = SPLIT_NAMES.get(split, "")
        rows.append(_Row(number, cells[places[0]], cells[places[1]], split))
    if not rows:
        raise UserError(f"{path} has a header but no rows; add one a line: image,mask")
    unused = [name or "(no name)" for name in header if name not in (*columns, "split")]
    if not unused:
        return rows, []
    used = [name for name in header if name in (*columns, "split")]
    return rows, [f"columns of {path.name}: {', '.join(used)}; not used: {', '.join(unused)}"]
