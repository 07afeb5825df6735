"""`--mode=predict`: a trained model on the user's own pictures and films."""

import itertools
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxvision.console import duration, say
from jaxvision.engine import make_apply, open_engine
from jaxvision.errors import FileError, UserError
from jaxvision.input_pipeline.folders import in_order, left_out, read_folder
from jaxvision.input_pipeline.images import decode_image
from jaxvision.input_pipeline.parallel import cpu_threads, in_threads
from jaxvision.task import Predictor, Prepared

AHEAD = 2  # pictures a thread that are read before they are needed, or wait to be written
NOTHING = Prepared(np.zeros((0, 1), np.uint8), None)


def predict_files(
    config: ConfigDict,
    workdir: str,
    source: str,
    output: str,
    step: int = 0,
    engine: str = "auto",
) -> None:
    """Predicts one file, or every one in a folder, into the folder `output`.

    A file that cannot be read is named and counted; the others are still done. One JSON line a file
    goes to predictions.jsonl.

    Args:
      config: the run's config; `predict` holds the options.
      workdir: the run's folder, or an exported model's.
      source: a file, or a folder.
      output: a folder; '' is <workdir>/predictions.
      step: the checkpoint's; 0: the best.
      engine: see `open_engine`.

    Raises:
      UserError: no such input, nothing usable in it, nothing trained in the workdir.
    """
    folder = Path(output or Path(workdir) / "predictions")
    _check_paths(source, folder)
    model = open_engine(config, workdir, engine, step)
    predictor = model.predictor
    files = _list_files(source, predictor.extensions)
    apply = make_apply(model, config.predict.batch_size)
    work = Work(predictor, apply, folder, model.fitted, config.data.range)
    records, failed, cut, start = [], [], [], time.perf_counter()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lines = open(folder / "predictions.jsonl", "w")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise UserError(f"cannot write to --output={str(folder)!r}: {error.strerror}") from error
    with lines:
        for i, record in enumerate(predict_each(work, files)):
            lines.write(json.dumps(record) + "\n")
            if "error" in record:
                failed.append(files[i].name)
                told = f"skipped: {record['error']}"
            else:
                records.append(record)
                told = f"{files[i].name}: {predictor.describe(record)}"
                if "incomplete" in record:
                    cut.append(files[i].name)
                    told = f"{told} (incomplete: {record['incomplete']})"
            rate = (i + 1) / (time.perf_counter() - start)
            say(f"{i + 1}/{len(files)}  {told}  left {duration((len(files) - i - 1) / rate)}")
    predictor.collect(records, folder)
    seconds = time.perf_counter() - start
    say(
        f"{len(records)} of {len(files)} files predicted by step {model.step} into {folder} "
        f"({len(files) / seconds:.1f} a second)"
    )
    if failed or cut:
        listed = [
            f"{len(names)} of {len(files)} files could not be read{how}: {', '.join(names[:5])}"
            for names, how in ((failed, ""), (cut, " to the end"))
            if names
        ]
        raise UserError("; ".join(listed))


class Work(NamedTuple):
    """What is done with each file.

    Attributes:
      predictor: the task's.
      apply: as for `Predictor.stream`.
      output: the folder for results.
      fitted: of the checkpoint.
      value_range: data.range, of the pixels' values.
    """

    predictor: Predictor
    apply: Any
    output: Path
    fitted: dict[str, float]
    value_range: tuple


class _Picture(NamedTuple):
    """A file that was read, or the reason why it could not be."""

    path: Path
    pixels: np.ndarray | None
    prepared: Prepared
    error: str = ""


def predict_each(work: Work, files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """The record of each file, in their order; {'file', 'error'} of one that cannot be read.

    Pictures are read and prepared ahead by threads, share batches, and are written by threads.
    """
    for streams, paths in itertools.groupby(files, work.predictor.streams):
        if streams:
            for path in paths:
                yield _stream(work, path)
            continue
        pictures = in_threads(lambda path: _read(work, path), paths, cpu_threads(), AHEAD)
        answers = work.apply((picture, picture.prepared.inputs) for picture in pictures)
        yield from in_threads(lambda answer: _finish(work, *answer), answers, cpu_threads(), AHEAD)


def _read(work: Work, path: Path) -> _Picture:
    try:
        pixels = decode_image(path, work.value_range, least_side=work.predictor.least_side)
        return _Picture(path, pixels, work.predictor.prepare(pixels))
    except FileError as error:
        return _Picture(path, None, NOTHING, str(error))


def _finish(work: Work, picture: _Picture, outputs: dict[str, np.ndarray]) -> dict[str, Any]:
    if picture.error:
        return {"file": str(picture.path), "error": picture.error}
    predictor, pixels = work.predictor, picture.pixels
    prediction = predictor.decode(outputs, picture.prepared.context, work.fitted)
    written = predictor.write(pixels, prediction, picture.path, work.output)
    return {"file": str(picture.path), **prediction.record, **written}


def _stream(work: Work, path: Path) -> dict[str, Any]:
    try:
        return work.predictor.stream(work.apply, path, work.output, work.fitted)
    except FileError as error:
        return {"file": str(path), "error": str(error)}


def _check_paths(source: str, output: Path) -> None:
    if not source:
        raise UserError("--mode=predict needs --input: an image, or a folder of images")
    path = Path(source)
    if not path.exists():
        raise UserError(f"--input={source!r} does not exist: give an image, or a folder of images")
    folder = path if path.is_dir() else path.parent
    if output.resolve() == folder.resolve():
        raise UserError(
            f"--output={str(output)!r} is the folder of --input, where results could overwrite "
            "files or be taken for input the next time: choose another folder"
        )


def _list_files(source: str, extensions: tuple[str, ...]) -> list[Path]:
    path = Path(source)
    if not path.is_dir():
        return [path]
    level = read_folder(path)
    entries = (*level.pictures, *level.others)
    files = in_order(p for p in entries if p.suffix.lower() in extensions and p.is_file())
    for note in left_out([p for p in (*level.folders, *entries) if p not in files], path):
        say(f"note: {note}")
    if not files:
        raise UserError(f"--input={source!r} holds no file to read ({', '.join(extensions)})")
    stems = [p.stem for p in files]
    same = {stem for stem in stems if stems.count(stem) > 1}
    if same:
        raise UserError(
            f"--input={source!r} holds several files named {sorted(same)[0]!r}: their "
            "results would overwrite each other; rename them"
        )
    return files
