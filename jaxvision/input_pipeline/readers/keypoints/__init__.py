"""The user's own pictures with named points: checked, grouped, and split without leaks.

    rats.npz              images uint8 [N, H, W], locs_head, locs_neck, locs_base [N, 2] as x, y
    points.csv            file,head_x,head_y,tail_x,tail_y,...; an empty cell is not visible
    project/              a DeepLabCut project

Copies of one original (an augmented npz) form a group, and no group is on two sides of a split.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxvision import cache
from jaxvision.errors import UserError
from jaxvision.input_pipeline import blob, checks, copies, pixels, views
from jaxvision.input_pipeline.dataset import SPLITS, Dataset, Split, fingerprint, hash_split
from jaxvision.input_pipeline.parallel import threaded
from jaxvision.input_pipeline.readers.keypoints import files as keypoint_files
from jaxvision.input_pipeline.readers.keypoints import listing
from jaxvision.input_pipeline.readers.keypoints.files import Labelled

BASELINE_ROWS = 500  # training rows, at most, that the baselines are fitted to


def load(config) -> Dataset:
    """Reads config.data.path.

    Rows are {'image': uint8 [H, W, C], 'points': float32 [K, 2] in pixels of the image (0 where not
    visible), 'visible': float32 [K], 'scale': float32, pixels of the file for one of the image,
    'blob': float32 [4]: centroid x, y and axis x, y of the animal as a blob}.

    Raises:
      UserError: the path or what it holds cannot be used; more than 1 % of the examples cannot.
    """
    options, path = config.data, Path(config.data.path).expanduser()
    labelled = listing.list_labelled(path)
    value_range = tuple(options.range)
    digests, sizes, problems, range_notes = _check_pictures(labelled, path, value_range)
    problems, missing = _check_points(labelled.points, labelled, sizes, problems)
    notes = [*labelled.notes, *range_notes, *missing]
    notes += checks.skip_problems(list(problems.values()), len(labelled.names), str(path))
    kept = np.array([i for i in range(len(labelled.names)) if i not in problems])
    row_views = _views(labelled.points, sizes, kept, options)
    read = labelled.read._replace(value_range=value_range) if labelled.files else labelled.read
    reader = KeypointReader(read, labelled.points, row_views, options.color, options.animal)
    groups, how_grouped = _groups(labelled, kept, reader, options, digests)
    assigned = _assign(kept, groups, labelled, options)
    rows, dropped = checks.drop_duplicates(
        {split: [digests[i] for i in members] for split, members in assigned.items()}
    )
    assigned = {split: [assigned[split][j] for j in rows[split]] for split in assigned}
    splits = {
        split: Split([labelled.names[i] for i in members], _Rows(reader, members), len(members))
        for split, members in assigned.items()
        if members
    }
    method = "splits of its own" if labelled.splits else f"split by {options.split}"
    parts = [
        (split, digests[i], row_views[i], labelled.points[i].tobytes().hex())
        for split in assigned
        for i in assigned[split]
    ]
    key = fingerprint(["keypoints 2", options.color, options.animal, *labelled.keypoints, *parts])
    return Dataset(
        source=f"{path} ({method}; {how_grouped})",
        splits=splits,
        notes=[*notes, *dropped],
        info=make_info(labelled.keypoints, splits, options, key),
        fingerprint=key,
    )


def _check_pictures(labelled: Labelled, path: Path, value_range: tuple[float, ...]):
    """A hash of each picture's pixels, its (height, width), {index: problem}, and notes."""
    if labelled.files:
        files = [(file, "image") for file in labelled.files]
        checked = checks.check_files(files, path, value_range)
        problems = {i: f"{labelled.names[i]}: {c.error}" for i, c in enumerate(checked) if c.error}
        sizes = [(c.height, c.width) for c in checked]
        notes = checks.range_notes(checked, value_range)
        return [c.digest for c in checked], sizes, problems, notes
    pixels.refuse_range(value_range, "those of an npz are of 8")
    array = labelled.read.array()
    digests = [hashlib.blake2b(picture.tobytes(), digest_size=16).hexdigest() for picture in array]
    return digests, [array.shape[1:3]] * len(array), {}, []


def _check_points(points: np.ndarray, labelled: Labelled, sizes, problems: dict[int, str]):
    """Adds pictures with impossible points to the problems; notes on missing ones."""
    problems = dict(problems)
    far = np.array([(width, height) for height, width in sizes], np.float32)[:, None] - 0.5
    outside = ((points < -0.5) | (points > far)).any(-1)  # [N, K]; False for NaN
    for i in np.flatnonzero(outside.any(1)):
        k = int(np.argmax(outside[i]))
        x, y = points[i, k]
        problems.setdefault(
            int(i),
            f"{labelled.names[i]}: {labelled.keypoints[k]} at ({x:g}, {y:g}) lies outside the "
            f"picture of {sizes[i][1]} x {sizes[i][0]} pixels",
        )
    unknown = ~np.isfinite(points).all(-1)
    for i in np.flatnonzero(unknown.all(1)):
        problems.setdefault(int(i), f"{labelled.names[i]}: none of its points is labelled")
    counts = unknown.sum(0)
    listed = ", ".join(
        f"{name} {n}" for name, n in zip(labelled.keypoints, counts, strict=True) if n
    )
    notes = [f"{counts.sum()} of {unknown.size} points are empty or NaN, taken as not visible: "
             f"{listed}"] if counts.any() else []  # fmt: skip
    return problems, notes


def _views(points: np.ndarray, sizes, kept: Sequence[int], options) -> dict[int, views.View]:
    """The window of each picture that the network sees: all of it, or a crop about its points."""
    windows = {}
    for i in kept:
        if options.crop_size:
            x, y = (np.nanmin(points[i], 0) + np.nanmax(points[i], 0)) / 2
            windows[int(i)] = views.around(x, y, options.crop_size, options.image_size)
        else:
            windows[int(i)] = views.whole(*sizes[i], options.image_size)
    different = {(v.height, v.width) for v in windows.values()} if not options.image_size else ()
    if len(different) > 1:
        listed = ", ".join(f"{w} x {h}" for h, w in sorted(different)[:4])
        raise UserError(
            f"the pictures are of {len(different)} sizes ({listed}): set data.image_size, the side "
            "that all are scaled to, or data.crop_size"
        )
    return windows


class KeypointReader(NamedTuple):
    """Decodes one picture as the network sees it; picklable."""

    read: keypoint_files.NpzPictures | keypoint_files.FilePictures
    points: np.ndarray
    views: dict[int, views.View]
    color: bool
    animal: str

    def picture(self, index: int) -> np.ndarray:
        """uint8 [H, W, C], C of 3 for colour, else 1."""
        image = self.read(index)
        return views.cut(image if self.color else views.gray(image), self.views[index])

    def __call__(self, index: int) -> dict[str, np.ndarray]:
        view = self.views[index]
        points = view.to_input(self.points[index])
        return row_of(self.picture(index), points, self.animal, view.scale)


def row_of(image: np.ndarray, points: np.ndarray, animal: str, scale: float = 1.0) -> dict:
    """A row as `load` describes it; points are NaN where not visible."""
    visible = np.isfinite(points).all(-1)
    animal_blob = blob.blob_in_crop(image, animal)
    height, width = image.shape[:2]
    middle = ((width - 1) / 2, (height - 1) / 2, 1.0, 0.0)
    return {
        "image": image,
        "points": np.where(visible[:, None], points, 0).astype(np.float32),
        "visible": visible.astype(np.float32),
        "scale": np.asarray(scale, np.float32),
        "blob": np.array(
            [animal_blob.x, animal_blob.y, *animal_blob.axis] if animal_blob else middle, np.float32
        ),
    }


class _Rows(NamedTuple):
    """The rows of a split; picklable."""

    reader: KeypointReader
    indices: Sequence[int]

    def __call__(self, row: int) -> dict[str, np.ndarray]:
        return self.reader(int(self.indices[row]))


def _groups(labelled: Labelled, kept, reader: KeypointReader, options, digests):
    """What must stay together, one value a kept picture, and how that was found out."""
    if labelled.groups:
        return [labelled.groups[i] for i in kept], "groups of the file"
    if options.group_size:
        return [int(i) // options.group_size for i in kept], f"groups of {options.group_size}"
    seen = [(digests[i], reader.views[i], labelled.points[i].tobytes().hex()) for i in kept]
    key = fingerprint(["copies", cache.code_version(), options.color, *seen])
    store = cache.cache_dir() / "copies" / f"{key}.json"
    groups = cache.read_json(store)
    if groups is None:
        small = threaded(lambda i: _small(reader.picture(int(i))), kept, "reading images", 1)
        points = labelled.points[kept]
        pairs = np.linalg.norm(points[:, :, None] - points[:, None], axis=-1)  # [N, K, K]
        hints = np.nan_to_num(pairs[:, *np.triu_indices(points.shape[1], 1)])
        groups = copies.group_copies(np.stack(list(small)), hints).tolist()
        cache.keep_json(store, groups)
    originals = len(set(groups))
    summary = f"{originals} originals found among {len(groups)}" if originals < len(groups) else ""
    return groups, summary or "no copies found"


def _small(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    side = min(max(height, width), copies.SIDE)
    return views.cut(views.gray(image), views.whole(height, width, side))[..., 0]


def _assign(kept, groups, labelled: Labelled, options) -> dict[str, list[int]]:
    """{split: indices}, in the order of recording."""
    splits = {split: [] for split in SPLITS}
    if labelled.splits:
        for i in kept:
            splits[labelled.splits[i]].append(int(i))
        if splits["train"] and not splits["val"]:
            place = dict(zip(kept.tolist(), groups, strict=True))
            own = [place[i] for i in splits["train"]]
            where = _cut(
                own, {"train": 1 - options.val_fraction, "val": options.val_fraction}, options
            )
            train, splits["train"] = splits["train"], []
            for i, group in zip(train, own, strict=True):
                splits[where[group]].append(i)
        return splits
    test, val = options.test_fraction, options.val_fraction
    shares = {"train": (1 - test) * (1 - val), "val": (1 - test) * val, "test": test}
    where = _cut(groups, shares, options)
    for i, group in zip(kept, groups, strict=True):
        splits[where[group]].append(int(i))
    return splits


def _cut(groups: Sequence, shares: dict[str, float], options) -> dict:
    """{group: split}: blocks of time in the order of `shares`, or by a hash of the group."""
    order = list(dict.fromkeys(groups))
    if options.split == "random":
        return {group: hash_split(f"group {group}", shares) for group in order}
    if len(order) < len(shares):
        raise UserError(
            f"{len(order)} groups of pictures cannot be split into {', '.join(shares)}: label "
            "more, or set data.group_size if not all are copies of one"
        )
    edges = np.round(np.cumsum(list(shares.values())) * len(order)).astype(int)
    edges = np.maximum(edges, np.arange(1, len(edges) + 1))  # a split of few has one at least
    return {
        group: list(shares)[int(np.searchsorted(edges, n, "right"))]
        for n, group in enumerate(order)
    }


def make_info(keypoints: Sequence[str], splits: dict[str, Split], options, key: str) -> dict:
    """What the model depends on, and what the baselines learned from the training split.

    It is kept in the cache: for it many pictures must be read.

    Args:
      keypoints: their names.
      splits: the data.
      options: config.data.
      key: the data set's fingerprint.
    """
    parts = [key, cache.code_version(), options.animal, options.crop_size]
    store = cache.cache_dir() / "checked" / f"info_{fingerprint(parts)}.json"
    info = cache.read_json(store)
    if info is None:
        info = _find_info(keypoints, splits, options)
        cache.keep_json(store, info)
    return info


def _find_info(keypoints: Sequence[str], splits: dict[str, Split], options) -> dict:
    split = splits.get("train") or next(iter(splits.values()))
    count = len(split.names)
    chosen = np.linspace(0, count - 1, min(count, BASELINE_ROWS)).astype(int)
    rows = [split.read(int(i)) for i in chosen]
    visible = np.stack([row["visible"] for row in rows])[..., None]
    points = np.stack([row["points"] for row in rows])
    blobs = np.stack([row["blob"] for row in rows])
    total = np.maximum(visible.sum(0), 1)
    return {
        "keypoints": list(keypoints),
        "image": list(rows[0]["image"].shape),
        "animal": options.animal,
        "crop_size": options.crop_size,
        "mean_points": ((points * visible).sum(0) / total).tolist(),
        # In the blob's own frame: along its axis, and across.
        "blob_points": ((_in_blob(points, blobs) * visible).sum(0) / total).tolist(),
        "blob_length": float(np.median([_length(row["image"], options.animal) for row in rows])),
    }


def _in_blob(points: np.ndarray, blobs: np.ndarray) -> np.ndarray:
    """[N, K, 2] in pixels from the centroid, turned so that the axis lies along x."""
    offsets = points - blobs[:, None, :2]
    x, y = blobs[:, None, 2], blobs[:, None, 3]
    along = offsets[..., 0] * x + offsets[..., 1] * y
    return np.stack([along, offsets[..., 1] * x - offsets[..., 0] * y], -1)


def _length(image: np.ndarray, animal: str) -> float:
    animal_blob = blob.blob_in_crop(image, animal)
    return animal_blob.length if animal_blob else float(max(image.shape[:2])) / 2
