"""`--mode=export`: a run's best checkpoint becomes a folder that is used without this code."""

import functools
import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict
from safetensors.numpy import save

from jaxvision.console import say, table
from jaxvision.engine import Engine, open_engine
from jaxvision.errors import UserError
from jaxvision.evaluate import judge_split, make_judge
from jaxvision.export import card, compare, programs
from jaxvision.export.describe import INPUT, describe
from jaxvision.exported import folder, program
from jaxvision.trained import Trained, load_trained
from jaxvision.workdir import write_json


class Options(NamedTuple):
    """How a model is exported.

    Attributes:
      weights_dtype: float32, or float16: half the size, and no longer the very same numbers.
      onnx_weights: inside model.onnx, or beside it: it reads weights.safetensors.
      notes: a text file on data, terms and limits for the model card; '': none.
    """

    weights_dtype: str = "float32"
    onnx_weights: str = "inside"
    notes: str = ""


def export_model(
    config: ConfigDict, workdir: str, output: str, step: int = 0, options: Options | None = None
) -> None:
    """Writes the folder of `exported/folder.py`, once every program has given the model's answers.

    Args:
      config: the run's; `data.path` must hold its data, which the programs are compared on.
      workdir: the run's folder.
      output: the folder to write; one that was exported before is replaced.
      step: the checkpoint's; 0: the best.
      options: see there.

    Raises:
      UserError: nothing was trained; the folder cannot be written; an operation that ONNX has not;
        a program whose results differ from the model's, with by how much.
    """
    options, target = options or Options(), Path(output)
    notes = _read_notes(options.notes)
    _check_output(output)
    trained = load_trained(config, workdir, step)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(prefix=".export-", dir=target.parent)
    except OSError as error:
        raise UserError(f"cannot write to --output={output!r}: {error.strerror}") from error
    with scratch as name:
        part = Path(name) / "model"
        part.mkdir()
        _write(config, trained, part, options)
        kept = folder.read(part).config  # without what training alone needs
        kept.data.path = config.data.path
        model = _check(kept, trained, part)
        described = json.loads((part / folder.DESCRIPTION).read_text())
        described["metrics"] = _measure(kept, model, workdir)
        text = card.write(described, model.predictor, notes, target.name)
        _add(part, described, {folder.CARD: text.encode()})
        if target.exists():
            shutil.rmtree(target)
        part.replace(target)
    _tell_sizes(target)


def _check_output(output: str) -> None:
    if not output:
        raise UserError("--mode=export needs --output: the folder to write")
    target = Path(output)
    if target.exists() and not target.is_dir():
        raise UserError(f"--output={output!r} is a file: give a folder")
    if target.is_dir() and any(target.iterdir()) and not folder.is_exported(target):
        raise UserError(
            f"--output={output!r} holds other files: give a new folder, or one that was exported"
        )


def _read_notes(path: str) -> str:
    try:
        return Path(path).read_text() if path else ""
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--notes={path!r} cannot be read: {error}") from error


def kept_weights(variables: dict[str, Any], dtype: str) -> dict[str, np.ndarray]:
    """{'params/head/kernel': array}, float32 or, where its numbers can be, float16."""
    flat = {n: np.asarray(a) for n, a in flatten_dict(variables, sep="/").items()}
    if dtype == "float32":
        return flat
    largest = np.finfo(np.float16).max
    return {
        name: array.astype(np.float16)
        if array.dtype == np.float32 and np.abs(array).max(initial=0) <= largest
        else array
        for name, array in flat.items()
    }


def _write(config, trained: Trained, part: Path, options: Options) -> None:
    """Weights, programs and a model.json without metrics."""
    weights = save(kept_weights(trained.variables, options.weights_dtype))
    model, files = trained.task.model, {folder.WEIGHTS: weights}
    flat = folder.widened(weights)
    lowered = {name: programs.lower(model, flat, name) for name in programs.PLATFORMS}
    files |= {folder.program_name(name): bytes(p.serialize()) for name, p in lowered.items()}
    described = describe(config, trained, lowered["cpu"], options.weights_dtype)
    files[folder.ONNX] = _onnx(model, flat, described, weights, options)
    if options.onnx_weights == "beside":
        described["onnx_reads"] = [folder.WEIGHTS]
    _add(part, described, files)


def _onnx(model, flat, described, weights: bytes, options: Options) -> bytes:
    try:
        from jaxvision.export.onnx.convert import to_onnx
    except ImportError as error:
        raise UserError('--mode=export needs onnx: pip install -e ".[onnx]"') from error
    kept = {name: described[name] for name in ("task", "classes", "fitted", "input", "outputs")}
    metadata = {n: v if isinstance(v, str) else json.dumps(v) for n, v in kept.items()}
    shape = programs.input_shape(model)
    return to_onnx(
        programs.of_flat(model),
        flat,
        shape,
        input_name=INPUT,
        metadata=metadata,
        constraints=programs.constraints(shape),
        half=options.weights_dtype == "float16",
        beside=(folder.WEIGHTS, weights) if options.onnx_weights == "beside" else None,
    ).SerializeToString()


def _add(part: Path, described: dict[str, Any], files: dict[str, bytes]) -> None:
    """Writes files, and model.json with their hashes."""
    for name, data in files.items():
        (part / name).write_bytes(data)
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    described["files"] = {**described.get("files", {}), **hashes}
    write_json(part / folder.DESCRIPTION, described)


def _check(config, trained: Trained, part: Path) -> Engine:
    """Compares every program that this machine can run; returns the engine of its own platform."""
    exported = folder.read(part)
    inputs = compare.example_inputs(config, trained.task.report)
    flat = jax.device_put(folder.read_variables(exported))
    reference = functools.partial(jax.jit(programs.of_flat(trained.task.model)), flat)
    engines = {name: open_engine(config, str(part), engine=name) for name in ("auto", "onnx")}
    for name, engine in engines.items():
        apart = compare.differences(reference, engine, inputs)
        line = compare.check(apart, engine, compare.TOLERANCE[name])
        file = folder.ONNX if name == "onnx" else folder.program_name(engine.runs_on)
        say(f"{file}: batches of {compare.BATCHES} differ from the model by at most {line}")
    others = [p for p in programs.PLATFORMS if p != program.platform()]
    say(f"not run here, which has no such device: {', '.join(map(folder.program_name, others))}")
    return engines["auto"]


def _measure(config, model: Engine, workdir: str) -> dict[str, Any]:
    """What the exported model reaches on the split of the run's evaluation.json; says both."""
    path = Path(workdir) / "evaluation.json"
    run = json.loads(path.read_text()) if path.exists() else {"split": "test", "metrics": {}}
    judge = make_judge(config, model)
    judged = judge_split(config, model, judge, run["split"])
    values = {n: v if np.isfinite(v) else None for n, v in judged.values.items()}
    names = judge.report.headline
    if run["metrics"]:
        say(f"{run['split']}, the run: {table(run['metrics'], names)}")
    say(f"{run['split']}, exported: {table(judged.values, names)}")
    return {
        "split": run["split"],
        "examples": judged.feed.split.examples,
        "headline": [name for name in names if values.get(name) is not None],
        "values": values,
    }


def _tell_sizes(target: Path) -> None:
    sizes = {path.name: path.stat().st_size for path in sorted(target.iterdir())}
    for name, size in sizes.items():
        say(f"  {name}: {size:,} bytes")
    say(f"exported to {target}: {sum(sizes.values()):,} bytes")
