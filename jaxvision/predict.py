"""`--mode=predict`: a trained model on the user's own pictures."""

import json
import time
from pathlib import Path

import jax
from ml_collections import ConfigDict

from jaxvision.console import duration, say
from jaxvision.errors import UserError
from jaxvision.evaluate import load_model


def predict_files(
    config: ConfigDict, workdir: str, source: str, output: str, step: int = 0
) -> None:
    """Predicts one file, or every one in a folder, into the folder `output`.

    A file that cannot be read is named and counted; the others are still done. One JSON line a file
    goes to predictions.jsonl.

    Args:
      config: the run's config; `predict` holds the options.
      workdir: the run's folder.
      source: a file, or a folder.
      output: a folder; '' is <workdir>/predictions.
      step: the checkpoint's; 0: the best.

    Raises:
      UserError: no such input, nothing usable in it, nothing trained in the workdir.
    """
    _check_exists(source)
    folder = Path(output or Path(workdir) / "predictions")
    model = load_model(config, workdir, {}, step)
    files = _list_files(source, model.task.extensions)
    apply = jax.jit(model.task.predict)
    done, failed, start = [], [], time.perf_counter()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lines = open(folder / "predictions.jsonl", "w")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise UserError(f"cannot write to --output={str(folder)!r}: {error.strerror}") from error
    with lines:
        for i, path in enumerate(files):
            try:
                record = model.task.predict_file(
                    lambda images: apply(model.variables, images), path, folder, model.fitted
                )
                done.append(record)
            except UserError as error:
                failed.append(path.name)
                record = {"file": str(path), "error": str(error)}
                say(f"skipped: {error}")
            lines.write(json.dumps(record) + "\n")
            left = (time.perf_counter() - start) / (i + 1) * (len(files) - i - 1)
            say(f"{i + 1}/{len(files)} {path.name}  left {duration(left)}")
    model.task.collect(done, folder)
    say(f"{len(done)} of {len(files)} files predicted by step {model.step} into {folder}")
    if failed:
        raise UserError(
            f"{len(failed)} of {len(files)} files could not be read: {', '.join(failed[:5])}"
        )


def _check_exists(source: str) -> None:
    if not source:
        raise UserError("--mode=predict needs --input: an image, or a folder of images")
    if not Path(source).exists():
        raise UserError(f"--input={source!r} does not exist: give an image, or a folder of images")


def _list_files(source: str, extensions: tuple[str, ...]) -> list[Path]:
    path = Path(source)
    if not path.is_dir():
        return [path]
    files = sorted(p for p in path.iterdir() if p.suffix.lower() in extensions)
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
