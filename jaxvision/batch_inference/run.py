"""`--mode=predict` into parquet files: what is done, where it goes on, and what failed."""

import codecs
import csv
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from jaxvision import cache
from jaxvision.batch_inference.sources import is_list, open_source
from jaxvision.console import duration, say
from jaxvision.engine import describe_model, open_engine
from jaxvision.errors import UserError

TOLD_SECONDS = 5.0  # at least, between lines of progress


class Options(NamedTuple):
    """What was asked for on the command line.

    Attributes:
      input, output, step: see main.py.
      engine: ray spreads the work over a cluster; others see `open_engine`.
      shard_rows: pictures a shard; 0: as begun, or the usual number.
      workers: of ray; 0: as many as fit.
    """

    input: str
    output: str
    step: int
    engine: str
    shard_rows: int
    workers: int


def wants_parquet(source: str, engine: str, chosen: str) -> bool:
    """Whether results go into parquet files: where asked, and where nothing else can be meant.

    Args:
      source: --input.
      engine: --engine.
      chosen: --format.

    Raises:
      UserError: they contradict each other.
    """
    if chosen == "files" and engine == "ray":
        raise UserError("--engine=ray writes parquet files: leave --format=files out")
    if chosen == "files" and is_list(source):
        raise UserError(
            f"--input={source!r} is predicted into parquet files: leave --format=files out"
        )
    return chosen == "parquet" or (chosen == "auto" and (engine == "ray" or is_list(source)))


def predict_many(config: ConfigDict, workdir: str, options: Options) -> None:
    """Predicts every picture of the input into <output>/predictions/*.parquet.

    Goes on where an earlier call was stopped or killed: finished shards stay. Pictures without an
    answer have a row with the reason, are listed in failures.csv, and counted at the end.

    Args:
      config: of the run or the exported model; `predict` holds the options.
      workdir: the run's folder, or the exported model's.
      options: see above.

    Raises:
      UserError: bad input, model or output; or some pictures failed.
    """
    from jaxvision.batch_inference import plan as plans  # needs pyarrow, as all below

    folder = Path(options.output or Path(workdir) / "predictions")
    source = open_source(options.input, folder)
    on_cluster = options.engine == "ray"
    open_model = describe_model if on_cluster else open_engine
    engine = "auto" if on_cluster else options.engine
    model = open_model(config, workdir, engine=engine, step=options.step)
    with plans.lock(folder):
        about = _facts(model, config)
        plan = plans.begin(folder, source, options.input, about, options.shard_rows)
        missing, rows, failed = plans.missing_shards(plan)
        if rows and missing:
            say(f"{rows:,} of {plan.pictures:,} pictures are done already")
        if on_cluster and missing:
            from jaxvision.batch_inference import cluster

            there = plan._replace(folder=folder.absolute())
            job = cluster.Job(config.to_dict(), str(Path(workdir).absolute()), model.step, there)
            finished = cluster.predict_shards(job, model.digest, missing, options.workers)
        else:
            from jaxvision.batch_inference import shards

            finished = shards.predict_shards(model, config, plan, missing)
        failed += _follow(finished, rows, plan.pictures)
        _finish(plan, failed)


def _facts(model: Any, config: ConfigDict) -> dict[str, Any]:
    """What results depend on beside the pictures. Not the engine's host: ray may go on where one
    host began.
    """
    runs = "onnxruntime" if model.runs_on == "onnxruntime" else "jax"
    options = {f"predict.{name}": value for name, value in config.predict.to_dict().items()}
    about = {"task": model.task, "digest": model.digest, "step": model.step, "program": runs}
    return {**about, "data.range": list(config.data.range), **options}


def _follow(finished: Iterator, rows: int, total: int) -> int:
    """Tells the progress of shards as they get done, and returns how many pictures failed."""
    start = told = begun = time.monotonic()
    before = first = rows
    failed = 0
    for done in finished:
        rows, failed, now = rows + done.rows, failed + done.failed, time.monotonic()
        if now > told + TOLD_SECONDS:
            rate = (rows - first) / (now - begun)
            left = duration((total - rows) / rate)
            trouble = f"  {failed:,} failed" if failed else ""
            say(f"{rows:,}/{total:,}  {rate:,.1f} pictures/s  left {left}{trouble}")
            told = now
        if first == before:  # the first shard's time is that of starting and compiling, too
            first, begun = rows, now
    if rows > before:
        done, seconds = rows - before, time.monotonic() - start
        rate = f"{done / seconds:,.1f} a second with the start"
        say(f"{done:,} pictures in {duration(seconds)}, {rate}")
    return failed


def _finish(plan: Any, failed: int) -> None:
    """Writes failures.csv, and checks that every picture has its row.

    Raises:
      UserError: there are failures.
    """
    from jaxvision.batch_inference import plan as plans

    missing, rows, _ = plans.missing_shards(plan)
    if missing or rows != plan.pictures:
        raise RuntimeError(f"shards {missing[:5]} are missing, {rows} of {plan.pictures} rows")
    where = plan.folder / plans.FAILURES
    with cache.atomic_file(where) as file:
        lines = csv.writer(codecs.getwriter("utf-8")(file))
        lines.writerow(["id", "error", "shard"])
        lines.writerows(plans.failures(plan))
    say(f"{rows - failed:,} of {rows:,} pictures predicted into {plan.folder / plans.PREDICTIONS}")
    if failed:
        raise UserError(f"{failed:,} of {rows:,} pictures could not be predicted: see {where}")
