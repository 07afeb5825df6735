"""DeepLabCut projects (Mathis et al. 2018): labeled-data/<video>/CollectedData_<scorer>.csv or .h5.

The tables are those that DeepLabCut 2 and 3 write for one animal: header rows scorer, bodyparts and
coords, one line a frame, empty where a part was not labelled. The h5 is read without pandas, which
would unpickle what it holds.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxvision.errors import UserError
from jaxvision.input_pipeline import folders
from jaxvision.input_pipeline.folders import SPLIT_NAMES
from jaxvision.input_pipeline.readers.keypoints.files import FilePictures, Labelled

INSTALL = 'pip install -e ".[tracks]"'


def is_project(path: Path) -> bool:
    """Whether a folder is a project, its labeled-data, or the folder of one video's frames."""
    return bool(_tables(path))


def _tables(path: Path) -> list[Path]:
    """One table a video; the csv where there are both."""
    for pattern in ("labeled-data/*/CollectedData*", "*/CollectedData*", "CollectedData*"):
        tables = {}
        for table in sorted(path.glob(pattern)):
            if table.suffix in (".csv", ".h5"):
                tables.setdefault(table.parent, table)  # '.csv' comes before '.h5'
        if tables:
            return list(tables.values())
    return []


def is_table(path: Path) -> bool:
    """Whether a csv has DeepLabCut's header rows."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.readline().startswith("scorer,")
    except (OSError, UnicodeDecodeError):
        return False


def read_project(path: Path) -> Labelled:
    """All videos of a project, one after the other.

    Raises:
      UserError: a table cannot be read, or two tables name other body parts.
    """
    tables = _tables(path)
    parts = [read_table(table) for table in tables]
    for i, (table, part) in enumerate(zip(tables, parts, strict=True)):
        if sorted(part.keypoints) == sorted(parts[0].keypoints):
            order = [part.keypoints.index(name) for name in parts[0].keypoints]
            parts[i] = part._replace(points=part.points[:, order])  # the same parts, by their names
        else:
            raise UserError(
                f"{table} has the body parts {', '.join(part.keypoints)}, {tables[0]} has "
                f"{', '.join(parts[0].keypoints)}: label the same ones in all videos"
            )
    files = [file for part in parts for file in part.files]
    notes = [f"{len(tables)} DeepLabCut tables: {', '.join(t.parent.name for t in tables)}"]
    named, unused = set(files), []
    for table in tables:
        unused += [p for p in folders.read_folder(table.parent).pictures if str(p) not in named]
    notes += folders.left_out(unused, path)
    # Videos that are called train and test are splits; one of that name among others is a video.
    splits = [SPLIT_NAMES.get(Path(file).parent.name.lower(), "") for file in files]
    return Labelled(
        [name for part in parts for name in part.names],
        parts[0].keypoints,
        np.concatenate([part.points for part in parts]),
        FilePictures(tuple(files)),
        tuple(files),
        splits=splits if all(splits) else (),
        notes=notes,
    )


def read_table(path: Path) -> Labelled:
    """One CollectedData file; its pictures lie beside it.

    Raises:
      UserError: it is no such table, or h5py is missing.
    """
    read = _read_h5 if path.suffix in (".h5", ".hdf5") else _read_csv
    frames, columns, values = read(path)
    bodyparts = list(dict.fromkeys(part for part, _ in columns))
    wanted = [(part, axis) for part in bodyparts for axis in "xy"]
    missing = [f"{part} {axis}" for part, axis in wanted if (part, axis) not in columns]
    if missing or not bodyparts:
        raise UserError(f"{path} has no column {', '.join(missing) or 'of a body part'}")
    order = [columns.index(column) for column in wanted]
    points = values[:, order].reshape(len(frames), len(bodyparts), 2).astype(np.float32)
    # 'labeled-data/<video>/<frame>.png', with either slash: the project may have moved.
    stems = [frame.replace("\\", "/").split("/")[-1] for frame in frames]
    files = tuple(str(path.parent / stem) for stem in stems)
    names = [f"{path.parent.name}/{stem}" for stem in stems]
    return Labelled(names, bodyparts, points, FilePictures(files), files)


def _read_csv(path: Path) -> tuple[list[str], list[tuple[str, str]], np.ndarray]:
    with open(path, newline="", encoding="utf-8-sig") as file:
        lines = [line for line in csv.reader(file) if any(line)]
    heads = {line[0]: line for line in lines[:4] if line[0] in _LEVELS}
    if "individuals" in heads:
        raise UserError(f"{path} labels several animals; only one a picture is supported")
    if not {"bodyparts", "coords"} <= heads.keys() or len(lines) == len(heads):
        raise UserError(f"{path} lacks DeepLabCut's rows scorer, bodyparts, coords, or any frame")
    # DeepLabCut 2.2 and later part the frame's path into three columns.
    first = next(i for i, cell in enumerate(heads["coords"][1:], start=1) if cell in ("x", "y"))
    columns = list(zip(heads["bodyparts"][first:], heads["coords"][first:], strict=True))
    body = lines[len(heads) :]
    try:
        values = [[float(c) if c else np.nan for c in line[first:]] for line in body]
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    frames = ["/".join(filter(None, line[:first])) for line in body]
    return frames, columns, np.array(values)


_LEVELS = ("scorer", "individuals", "bodyparts", "coords")


def _read_h5(path: Path) -> tuple[list[str], list[tuple[str, str]], np.ndarray]:
    """The layout of pandas' 'fixed' format: axis0 holds the columns, axis1 the frames."""
    try:
        import h5py
    except ImportError as error:
        raise UserError(f"reading {path} needs h5py: {INSTALL}") from error
    try:
        with h5py.File(path, "r") as file:
            table = file[next(iter(file))]
            levels = _levels(table, "axis0")
            frames = ["/".join(parts) for parts in zip(*_levels(table, "axis1"), strict=True)]
            values = np.asarray(table["block0_values"], np.float64)
            blocks = sum(key.endswith("_values") for key in table)
    except (OSError, KeyError, StopIteration, TypeError, AttributeError) as error:
        raise UserError(f"{path} is no table of DeepLabCut: {error}") from error
    if len(levels) != 3 or blocks != 1 or values.shape != (len(frames), len(levels[0])):
        raise UserError(f"{path} is no table of one animal as DeepLabCut writes it; use its csv")
    return frames, list(zip(levels[1], levels[2], strict=True)), values


def _levels(table, axis: str) -> list[Sequence[str]]:
    """The texts of each level of an axis."""
    if axis in table:
        return [_texts(table[axis])]
    levels = []
    while f"{axis}_level{len(levels)}" in table:
        names = _texts(table[f"{axis}_level{len(levels)}"])
        levels.append([names[i] for i in np.asarray(table[f"{axis}_label{len(levels)}"])])
    return levels


def _texts(dataset) -> list[str]:
    return [cell.decode() for cell in np.asarray(dataset, "S")]
