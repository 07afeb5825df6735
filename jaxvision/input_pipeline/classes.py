"""Pictures with one class each, in whatever form people have them.

a TFDS folder, where data.tfds names the data set         `tfds`
parquet files of Hugging Face's `datasets`                `parquet`
metadata.csv or metadata.jsonl beside the pictures        `metadata`
folders, one a class                                      `class_folders`
"""

from pathlib import Path
from typing import Any

from jaxvision.errors import UserError
from jaxvision.input_pipeline import (
    checks,
    class_folders,
    labelled,
    metadata,
    parquet,
    pixels,
    tfds,
)
from jaxvision.input_pipeline.dataset import Dataset


def load(config: Any) -> Dataset:
    """Reads what lies at config.data.path; rows as `labelled.make_dataset` gives them.

    Raises:
      UserError: the path or what it holds cannot be used.
    """
    path = Path(config.data.path).expanduser()
    if config.data.tfds:
        pixels.refuse_range(config.data.range, "TFDS' are of 8")
        return tfds.load(config)
    if files := parquet.find(path) if path.exists() else []:
        return _load_parquet(files, path, config)
    if path.is_dir() and (files := metadata.find(path)):
        listed = metadata.read(files, path, config.data.label)
        if listed is not None:
            return _load_metadata(listed, path, config)
    if config.data.label:
        raise UserError(
            f"data.label={config.data.label!r} is a column of parquet or metadata, and {path} "
            "holds neither: leave it out"
        )
    return class_folders.load(config)


def _load_parquet(files: list[Path], path: Path, config: Any) -> Dataset:
    listed = parquet.read(files, path, config.data.label)
    rows = [(row.cell, row.name, row.label, row.split) for row in listed.rows]
    _refuse_few(listed.classes, path)
    return _checked(rows, [], listed.classes, listed.notes, path, config)


def _load_metadata(listed: metadata.Listed, path: Path, config: Any) -> Dataset:
    classes = metadata.classes_of(listed.files)
    _refuse_few(classes, path)
    rows = [
        (str(file), str(file.relative_to(path)) if file.is_relative_to(path) else str(file), *rest)
        for file, *rest in listed.files
    ]
    return _checked(rows, listed.problems, classes, listed.notes, path, config)


def _checked(rows, problems, classes, notes, path, config) -> Dataset:
    """The data set of rows (source, name, label, split), each picture decoded once."""
    value_range = config.data.range
    outcomes = checks.check_files([(source, "image") for source, *_ in rows], path, value_range)
    examples, problems = [], list(problems)
    total = len(rows) + len(problems)
    for (source, name, label, split), outcome in zip(rows, outcomes, strict=True):
        if outcome.error or label not in classes:
            reason = outcome.error or f"its class {label!r} is none of train's"
            problems.append(f"{name}: {reason}" if label else f"{name}: it has no label")
        else:
            size = min(outcome.height, outcome.width)
            examples.append(labelled.Example(name, source, label, split, outcome.digest, size))
    notes = [*notes, *checks.skip_problems(problems, total, str(path))]
    notes += checks.range_notes(outcomes, value_range)
    return labelled.make_dataset(examples, classes, notes, str(path), config)


def _refuse_few(classes: list[str], path: Path) -> None:
    if len(classes) < 2:
        raise UserError(f"{path} holds {len(classes)} classes, {classes}: at least two are needed")
