"""The user's own images with masks, for segmentation: a folder or a csv, cut into tiles.

    aerial/images/0001.jpg  aerial/masks/0001.png            one folder, split by a hash of the name
    aerial/train/images/... aerial/test/masks/...            any of train, val and test
    aerial.csv: image_url,mask_url[,split] or image,mask     paths (from the csv's folder), http(s)
    aerial/masks/0001.geojson                                footprints in place of a mask file
    COCO's annotations, or one GeoJSON of all                see `annotated`

Masks are of one kind of object, or with two names and more in `data.classes` of several classes,
the first of which is what lies outside of all outlines: see `class_masks`.
Images are never resized: each is cut, at its own resolution, in a grid of tiles.
"""

import functools
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxvision.errors import UserError
from jaxvision.input_pipeline import checks, class_masks, images
from jaxvision.input_pipeline.class_masks import Coding
from jaxvision.input_pipeline.dataset import (
    SPLITS,
    VAL_FRACTION,
    Dataset,
    Split,
    fingerprint,
    hash_split,
    unit_hash,
)
from jaxvision.input_pipeline.readers.aerial import files as aerial_files
from jaxvision.input_pipeline.readers.aerial import pairs as pairs_lib
from jaxvision.input_pipeline.readers.aerial.outlines import IGNORE, Drawing, draw
from jaxvision.input_pipeline.readers.aerial.pairs import Pair
from jaxvision.input_pipeline.stored import turned

FRACTIONS = {"train": 0.8, "val": 0.1, "test": 0.1}


def load(config) -> Dataset:
    """Reads config.data.path; rows are {'image': uint8 [S, S, 3], 'mask': uint8 [S, S]}.

    S is config.data.image_size, or the longest side of the images where that is less. The tiles of
    an image do not overlap, and hold each of its pixels once; what a tile has beyond the image is 0
    in 'image' and IGNORE in 'mask', which is 0 or 1 elsewhere, or the number of a class (IGNORE too
    in COCO's crowds). A row is named 'stem' where the image is one tile, else 'stem_y0_x0' (pixels
    from the top left corner). With several classes `info` holds their names under 'classes'.

    Raises:
      UserError: the path or what it holds cannot be used; more than 1 % of the examples cannot.
    """
    path = Path(config.data.path).expanduser()
    coding = class_masks.coding_of(config.data)
    listing = aerial_files.list_examples(path, config.data)
    if len(config.data.classes) == 1 and any(isinstance(e.mask, str) for e in listing.examples):
        raise UserError(
            f"data.classes={tuple(config.data.classes)} is for COCO and GeoJSON, and the masks in "
            f"{path} are pictures of one kind of object: leave it out, or name several classes, "
            "from that of value 0 on"
        )
    checked = pairs_lib.check_pairs(listing.examples, path, config.data.range, coding)
    pairs = checked.pairs
    notes = checks.skip_problems(listing.problems + checked.problems, listing.total, str(path))
    notes += checked.notes
    splits, method = _assign(pairs, notes, "folders" if path.is_dir() else "splits of the csv:")
    kept, dropped = checks.drop_duplicates(
        {split: [pair.image_digest for pair in splits[split]] for split in splits}
    )
    splits = {split: [splits[split][i] for i in kept[split]] for split in splits if kept[split]}
    notes = [*listing.notes, *notes, *dropped]
    if coding:
        held = {split: [pair.present for pair in splits[split]] for split in splits}
        notes += class_masks.occurrence_notes(held, coding)
    longest = max(max(p.height, p.width) for pairs in splits.values() for p in pairs)
    side = min(config.data.image_size, longest)
    parts = [
        (split, pair.example.name, pair.image_digest, pair.mask_digest, pair.mask_turn)
        for split, pairs in splits.items()
        for pair in pairs
    ]
    return Dataset(
        source=f"{path} ({method})",
        splits={
            split: _tiles(pairs, side, tuple(config.data.range), coding)
            for split, pairs in splits.items()
        },
        notes=notes,
        info={"tile_size": side, **_info(coding)},
        fingerprint=fingerprint(["aerial 2", side, *parts, *([coding] if coding else [])]),
    )


def _info(coding: Coding | None) -> dict[str, list[str]]:
    """What is kept with a model of several classes: their names, and colours if masks have some."""
    if coding is None:
        return {}
    colours = class_masks.colours_of(coding)
    return {"classes": list(coding.classes), **({"class_colors": colours} if colours else {})}


def _assign(
    pairs: Sequence[Pair], notes: list[str], origin: str
) -> tuple[dict[str, list[Pair]], str]:
    """{split: pairs} and how they were split, in words; adds to `notes` what was unusual."""
    given = {pair.example.split for pair in pairs}
    splits = {split: [] for split in SPLITS}
    if given == {""}:
        method = "split by name: " + ", ".join(f"{name} {part}" for name, part in FRACTIONS.items())
        for pair in pairs:
            splits[hash_split(pair.example.key, FRACTIONS)].append(pair)
        notes += _fill("train", splits, SPLITS) + _fill("val", splits, SPLITS)
        return splits, method
    for pair in pairs:
        splits[pair.example.split].append(pair)
    method = f"{origin} " + ", ".join(split for split in SPLITS if split in given)
    if "train" in given and "val" not in given:
        fractions = {"val": VAL_FRACTION, "train": 1 - VAL_FRACTION}
        train, splits["train"] = splits["train"], []
        for pair in train:
            splits[hash_split(pair.example.key, fractions)].append(pair)
        splits_open = ("train", "val")  # a test set that was given stays whole
        notes += _fill("train", splits, splits_open) + _fill("val", splits, splits_open)
        method += "; val = a tenth of train"
    return splits, method


def _fill(split: str, splits: dict[str, list[Pair]], donors: Sequence[str]) -> list[str]:
    """Moves one pair to `split` where the hash left it empty, as it may with few files.

    The pair with the smallest hash goes, so the choice does not depend on the order of the files.
    Train is filled first and keeps its last pair: a model needs it more than val does.
    """
    least = {"train": 2, "val": 1, "test": 1}
    able = [name for name in donors if name != split and len(splits[name]) >= least[name]]
    if splits[split] or not able:
        return []
    donor = max(able, key=lambda name: (len(splits[name]), name == "test"))
    pair = min(splits[donor], key=lambda pair: (unit_hash(pair.example.key), pair.example.name))
    splits[donor].remove(pair)
    splits[split].append(pair)
    return [f"few examples: moved {pair.example.name} from {donor} to {split}, which had none"]


class TileReader(NamedTuple):
    """Decodes a tile; picklable, and holds no pixels.

    Attributes:
      files: of each image, its path, that of its mask or the outlines that draw it, and the
        orientation by which to turn the mask.
      sizes: int [images, 2], height and width in pixels when they were checked.
      tiles: int [rows, 3], index into files, y0, x0.
      side: of a tile, pixels.
      value_range: `data.range`.
      coding: of masks of several classes.
    """

    files: Sequence[tuple[str, str | Drawing, int]]
    sizes: np.ndarray
    tiles: np.ndarray
    side: int
    value_range: tuple[float, ...] = ()
    coding: Coding | None = None

    def __call__(self, row: int) -> dict[str, np.ndarray]:
        index, y0, x0 = self.tiles[row]
        height, width = self.sizes[index]
        several = height > self.side or width > self.side
        decode = _decode_once if several else _decode
        image, mask = decode(*self.files[index], self.value_range, self.coding)
        if image.shape[:2] != (height, width) or mask.shape != (height, width):
            raise UserError(f"{self.files[index][0]} changed size since the start; start again")
        image = image[y0 : y0 + self.side, x0 : x0 + self.side]
        mask = mask[y0 : y0 + self.side, x0 : x0 + self.side]
        tile = {
            "image": np.zeros((self.side, self.side, 3), np.uint8),
            "mask": np.full((self.side, self.side), IGNORE, np.uint8),
        }
        tile["image"][: image.shape[0], : image.shape[1]] = image
        tile["mask"][: mask.shape[0], : mask.shape[1]] = mask
        return tile


def _tiles(
    pairs: Sequence[Pair], side: int, value_range: tuple[float, ...], coding: Coding | None
) -> Split:
    names, tiles = [], []
    for index, pair in enumerate(pairs):
        corners = [(y, x) for y in range(0, pair.height, side) for x in range(0, pair.width, side)]
        tiles += [(index, y, x) for y, x in corners]
        name = pair.example.name
        names += [f"{name}_{y}_{x}" for y, x in corners] if len(corners) > 1 else [name]
    reader = TileReader(
        files=[(pair.example.image, pair.example.mask, pair.mask_turn) for pair in pairs],
        sizes=np.array([(pair.height, pair.width) for pair in pairs], np.int32),
        tiles=np.array(tiles, np.int32),
        side=side,
        value_range=value_range,
        coding=coding,
    )
    return Split(names, reader, len(pairs))


def _decode(
    image: str,
    mask: str | Drawing,
    turn: int,
    value_range: tuple[float, ...],
    coding: Coding | None,
) -> tuple[np.ndarray, np.ndarray]:
    pixels = images.decode_image(image, value_range)
    if isinstance(mask, Drawing):
        return pixels, turned(draw(mask).mask, turn)
    if coding:
        return pixels, class_masks.decode_mask(mask, coding, turn)
    return pixels, images.decode_mask(mask, turn)


# Few, as one may be 400 MB; rows read in order need one a thread at most.
_decode_recent = functools.lru_cache(maxsize=4)(_decode)
_decoding = [threading.Lock() for _ in range(64)]


def _decode_once(image: str, *how: Any) -> tuple[np.ndarray, np.ndarray]:
    """As _decode, remembered; threads that want the same file wait for one decoding of it."""
    with _decoding[zlib.crc32(image.encode()) % len(_decoding)]:
        return _decode_recent(image, *how)
