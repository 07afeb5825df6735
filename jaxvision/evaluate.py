"""Evaluation of a split: in the training loop, and on its own (`--mode=evaluate`)."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxvision import hosts, logs
from jaxvision.console import say
from jaxvision.engine import Engine, open_engine, read_config
from jaxvision.errors import UserError
from jaxvision.exported.folder import is_exported
from jaxvision.input_pipeline import loader
from jaxvision.input_pipeline.dataset import Dataset, Split
from jaxvision.sharding import local, make_mesh, shard_batch, to_host
from jaxvision.task import Measured, Report, Under
from jaxvision.tasks import find_system
from jaxvision.training import memory


def batch_size(config: ConfigDict) -> int:
    """Examples in an evaluation batch: as the config says, rounded up to whole rows a device."""
    devices = jax.local_device_count() if hosts.count() == 1 else jax.device_count()
    return -(-(config.eval.batch_size or config.batch_size) // devices) * devices


def measure(
    metrics: Callable,
    variables: Any,
    feed: loader.Feed,
    size: int,
    seed: int,
    rounds: Iterable[Any] | None = None,
) -> Measured:
    """A model's metrics over every row of a split, each once.

    Args:
      metrics: the model's `metrics`, jitted.
      variables: what to judge.
      feed: the split.
      size: rows a batch.
      seed: random numbers depend on it and the batch's place alone.
      rounds: its batches of that size, where they are not `loader.eval_batches`.

    Returns:
      float64 or int64 sums, and rows in the split's order.
    """
    totals, rows, waiting, key = {}, [], None, jax.random.key(seed)
    batches = loader.eval_batches(feed, size) if rounds is None else rounds
    for i, batch in enumerate(batches):
        measured = metrics(variables, batch, jax.random.fold_in(key, i))
        if waiting is not None:  # read one batch late, while the device works on this one
            totals, rows = _add(totals, rows, to_host(feed.mesh, waiting))
        waiting = measured
    totals, rows = _add(totals, rows, to_host(feed.mesh, waiting))
    count = len(feed.split.names)
    return Measured(totals, {n: np.concatenate([r[n] for r in rows])[:count] for n in rows[0]})


def _add(totals, rows, measured):
    sums = jax.tree.map(_wide, measured.sums)
    totals = jax.tree.map(np.add, totals, sums) if totals else sums
    return totals, [*rows, measured.rows]


def _wide(value):
    value = np.asarray(value)
    return value.astype(np.int64 if np.issubdtype(value.dtype, np.integer) else np.float64)


class Judge(NamedTuple):
    """What a split is judged with.

    Attributes:
      report: of the task.
      metrics: (variables, batch, key) -> Measured.
      variables: that `metrics` and `report.draw` take.
      mesh: the devices that batches are put on.
    """

    report: Report
    metrics: Callable[..., Measured]
    variables: Any
    mesh: Any


def make_judge(config: ConfigDict, engine: Engine) -> Judge:
    """The judge of a run's model, or of an exported one, of which only the outputs are known."""
    trained = engine.trained
    if trained is not None:
        metrics = jax.jit(trained.task.model.metrics)
        return Judge(trained.task.report, metrics, trained.variables, trained.mesh)
    report = find_system(config.task).make_report(config, engine.info)
    inputs_of, measure_outputs = jax.jit(report.inputs), jax.jit(report.measure)

    def metrics(variables, batch, key):
        del variables, key
        return measure_outputs(engine.predict(inputs_of(batch)), batch)

    return Judge(report, metrics, {}, make_mesh({}))


class Judged(NamedTuple):
    """A split that was judged."""

    dataset: Dataset
    feed: loader.Feed
    measured: Measured
    values: dict[str, float]


def check_same_data(dataset: Dataset) -> None:
    """Raises UserError where another process reads other examples."""
    remedy = "give both the same data, by data.path"
    hosts.check_same("data of fingerprint", dataset.fingerprint, dataset.source, remedy)


def judge_split(config: ConfigDict, engine: Engine, judge: Judge, split: str) -> Judged:
    """Measures a split of the config's data, or 'all' of it.

    Raises:
      UserError: there is no such split, or the data does not fit the model.
    """
    size = batch_size(config)
    memory.refuse_pictures(config, "eval.batch_size", size)
    dataset = judge.report.adapt(loader.load_dataset(config))
    check_same_data(dataset)
    logs.describe_data(dataset)
    if split == "all":
        dataset = dataset._replace(splits={"all": _merged(dataset)})
    if split not in dataset.splits:
        raise UserError(
            f"--split={split}: {dataset.source} has only {', '.join(dataset.splits)}; "
            "choose one of them, or --split=all"
        )
    memory.refuse_batch(dataset.splits[split], "eval.batch_size", size)
    feed = loader.open_feed(dataset, split, config, judge.mesh)
    measured = measure(judge.metrics, judge.variables, feed, size, config.seed)
    return Judged(dataset, feed, measured, judge.report.metrics(measured, engine.fitted))


def judge_under(config: ConfigDict, judge: Judge, feed: loader.Feed) -> dict[Any, Under]:
    """What a split shows under each of the report's conditions; {} where there are none."""
    conditions, size = judge.report.conditions, batch_size(config)
    if not conditions:
        return {}
    say(f"judging them under {len(conditions)} conditions too")
    rows = _spread(len(feed.split.names), config.eval.figure_rows)
    sample, under = _as_batch(feed, rows, size), {}
    for name, change in conditions.items():
        rounds = _changed(change, feed, size)
        measured = measure(judge.metrics, judge.variables, feed, size, config.seed, rounds)
        shown = to_host(feed.mesh, change(*sample)) if len(rows) else {}
        under[name] = Under(measured, rows, {n: a[: len(rows)] for n, a in shown.items()})
    return under


def _as_batch(feed: loader.Feed, rows: np.ndarray, size: int) -> tuple[Any, Any]:
    """A few rows, again and again until they fill a batch: no program is compiled for so few."""
    if not len(rows):
        return {}, rows
    again = np.resize(np.arange(len(rows), dtype=np.int32), size)
    few = loader.host_rows(feed, rows)
    batch = {name: array[again] for name, array in few.items()}
    return shard_batch(feed.mesh, (batch, rows.astype(np.int32)[again]))


def _changed(change: Callable, feed: loader.Feed, size: int) -> Iterator[Any]:
    """Each batch of a split as a condition changes it."""
    for i, batch in enumerate(loader.eval_batches(feed, size)):
        rows = np.arange(i * size, (i + 1) * size, dtype=np.int32)
        yield change(batch, shard_batch(feed.mesh, rows))


def evaluate_workdir(
    config: ConfigDict,
    workdir: str,
    split: str,
    step: int = 0,
    engine: str = "auto",
    output: str = "",
) -> None:
    """Judges a model on a split; prints it, writes evaluation.json and figures.

    Args:
      config: the run's config, with any overrides (`data.path`: another data set).
      workdir: the run's folder, or an exported model's.
      split: train, val, test, or all: every example found.
      step: the checkpoint's; 0: the best.
      engine: see `open_engine`.
      output: the folder for results; '' is the workdir, or, of an exported model, which stays as
        it was exported, <workdir>/evaluation.

    Raises:
      UserError: nothing trained there, no such split, no such checkpoint; `output` is no folder.
    """
    if hosts.count() > 1 and is_exported(workdir):
        raise UserError(f"{workdir} is an exported model: judge it by one process, --processes=1")
    if output:  # asked for: where the workdir itself cannot be written, that is told at the end
        try:
            Path(output).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write to --output={output!r}: {error.strerror}") from error
    model = open_engine(config, workdir, engine, step)
    hosts.check_same("model", model.digest, workdir, "give a --workdir that all hosts share")
    judge = make_judge(config, model)
    judged = judge_split(config, model, judge, split)
    under = judge_under(config, judge, judged.feed)
    if hosts.first():
        _write(config, workdir, split, output, model, judge, judged, under)
    hosts.wait()


def _write(config, workdir, split, output, model, judge, judged, under) -> None:
    """Prints and writes what `evaluate_workdir` found."""
    report, fitted = judge.report, model.fitted
    dataset, feed, measured, values = judged
    compared, drawn = report.compare(measured, under, feed.split) if under else ({}, {})
    tables = {**report.tables(measured, fitted), **compared}
    data = logs.about_data(dataset, config, read_config(workdir))
    result = logs.Evaluation(split, model.step, feed.split.examples, data, values, tables)
    logs.say_evaluation(result, report.headline)
    rows = figure_rows(feed, config.eval.figure_rows)
    figures = draw(report, local(judge.variables), rows, config.seed, fitted)
    folder = output or (workdir if model.trained else str(Path(workdir) / "evaluation"))
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        logs.write_evaluation(folder, result)
        for name, image in {**figures, **report.figures(measured, fitted), **drawn}.items():
            logs.save_figure(folder, f"{split}_{name}", model.step, image)
    except OSError as error:
        say(f"not written: evaluation.json and figures, as {folder}: {error.strerror or error}")


def draw(
    report: Report, variables: Any, rows: dict[str, np.ndarray], seed: int, fitted: dict[str, float]
) -> dict[str, np.ndarray]:
    """{name: picture} of rows; nothing where there are none (`eval.figure_rows=0`)."""
    return report.draw(variables, rows, jax.random.key(seed), fitted) if rows else {}


def figure_rows(feed: loader.Feed, count: int) -> dict[str, np.ndarray]:
    """`count` rows of a split, spread over it, always the same: host arrays; {} for 0."""
    if not count:
        return {}
    return loader.host_rows(feed, _spread(len(feed.split.names), count))


def _spread(size: int, count: int) -> np.ndarray:
    """`count` of `size` rows, or all."""
    return np.linspace(0, size - 1, min(count, size)).astype(int)


class _Merged(NamedTuple):
    """Reads the rows of several splits, one after the other."""

    splits: tuple[Split, ...]

    def __call__(self, row: int) -> dict[str, np.ndarray]:
        for split in self.splits:
            if row < len(split.names):
                return split.read(row)
            row -= len(split.names)
        raise IndexError(row)


def _merged(dataset: Dataset) -> Split:
    splits = tuple(dataset.splits.values())
    names = [name for split in splits for name in split.names]
    sizes = tuple(size for split in splits for size in split.sizes)
    sizes = sizes if len(sizes) == len(names) else ()
    return Split(names, _Merged(splits), sum(split.examples for split in splits), b"", sizes)
