"""fer2013.csv, as the Kaggle challenge gave it (Goodfellow et al. 2013, arXiv 1307.0414).

Columns emotion (0 to 6, or a class name), pixels (gray values of a square picture, row by row,
separated by spaces) and, where it is split, Usage: Training, PublicTest (which is val) and
PrivateTest (which is test).
"""

import csv
import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np

from jaxvision.errors import UserError
from jaxvision.input_pipeline import checks, labelled, pixels
from jaxvision.input_pipeline.dataset import Dataset

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")  # labels 0 to 6
USAGES = {"training": "train", "publictest": "val", "privatetest": "test"}
PIXELS = 48 * 48


def load(path: Path, config: Any) -> Dataset:
    """Reads the csv; rows as `labelled.make_dataset` gives them.

    Raises:
      UserError: it cannot be read, or more than 1 % of its rows cannot be used.
    """
    pixels.refuse_range(config.data.range, "the csv's are of 8")
    examples, problems, total = _read_csv(path)
    notes = checks.skip_problems(problems, total, str(path))
    names = list(CLASSES)
    if not {e.label for e in examples} <= set(CLASSES):
        names = sorted({e.label for e in examples if e.split in ("train", "")})
        unknown = sorted({e.label for e in examples} - set(names))
        if unknown:
            raise UserError(f"{path}: no row of train has emotion {', '.join(unknown)}")
    return labelled.make_dataset(examples, names, notes, str(path), config)


def _read_csv(path: Path) -> tuple[list[labelled.Example], list[str], int]:
    """Examples, one problem for each row that cannot be used, and how many rows there are."""
    csv.field_size_limit(2**24)
    examples, problems, total, numbers = [], [], 0, False
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = {name.strip().lower(): name for name in reader.fieldnames or () if name}
            if not {"emotion", "pixels"} <= columns.keys():
                raise UserError(
                    f"{path} has columns {', '.join(columns) or 'none'}: needed are emotion, "
                    "pixels and (to keep its splits) Usage"
                )
            for total, row in enumerate(reader, 1):
                try:
                    numbers = numbers or (row[columns["emotion"]] or "").strip().isdigit()
                    examples.append(_example(total, row, columns))
                except ValueError as error:
                    problems.append(f"row {total}: {error}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as a csv: {error}") from error
    if numbers:  # then a word is a mistake, not a class of one's own
        problems += [
            f"{e.name}: unknown label {e.label!r}" for e in examples if e.label not in CLASSES
        ]
        examples = [e for e in examples if e.label in CLASSES]
    if not total:
        raise UserError(f"{path} holds no row: needed are emotion,pixels,Usage")
    return examples, problems, total


def _example(number: int, row: dict[str, str], columns: dict[str, str]) -> labelled.Example:
    """One row of the csv; raises ValueError with the reason where it cannot be used."""
    label = (row[columns["emotion"]] or "").strip()
    name = CLASSES[int(label)] if label.isdigit() and int(label) < len(CLASSES) else label
    if not name or name.lstrip("-").isdigit():
        raise ValueError(f"unknown label {label!r}, not 0 to {len(CLASSES) - 1}")
    values = (row[columns["pixels"]] or "").split()
    side = math.isqrt(len(values))
    if len(values) != PIXELS and (side * side != len(values) or side < 8):
        raise ValueError(f"{len(values):,} pixels, not {PIXELS:,} (or another square)")
    try:
        square = np.array(values, dtype=np.uint8).reshape(side, side)
    except (ValueError, OverflowError) as error:
        raise ValueError("a pixel is not a whole number from 0 to 255") from error
    usage = (row[columns["usage"]] or "").strip() if "usage" in columns else ""
    split = USAGES.get(usage.lower(), "") if usage else ""
    if usage and not split:
        raise ValueError(f"unknown Usage {usage!r}, not Training, PublicTest or PrivateTest")
    digest = hashlib.blake2b(square.tobytes(), digest_size=16).hexdigest()
    return labelled.Example(f"row {number}", square, name.lower(), split, digest, side)
