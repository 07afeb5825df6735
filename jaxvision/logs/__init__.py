"""What a run writes: metrics.jsonl, TensorBoard, figures; the only file that imports clu."""

import contextlib
import csv
import json
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from jaxvision.console import duration, say, table
from jaxvision.input_pipeline.dataset import Dataset
from jaxvision.logs import wandb_log
from jaxvision.logs.clock import Clock
from jaxvision.visualize.gif import FILM_FPS, write_gif
from jaxvision.workdir import overrides, write_json

SECONDS_BETWEEN_LINES = 1.0  # of training progress on the console


def write_parameters(workdir: str | Path, params: Any) -> None:
    """A table of every parameter array in parameters.txt: name, shape, size, mean and spread."""
    from clu import parameter_overview  # flax with it, which an exported model does without

    overview = parameter_overview.get_parameter_overview(params)
    (Path(workdir) / "parameters.txt").write_text(overview + "\n")


def describe_data(dataset: Dataset) -> None:
    """Prints where the data comes from, how much there is, and what was left out."""
    say(f"data: {dataset.source}")
    for name, split in dataset.splits.items():
        tiles = f" in {len(split.names)} rows" if len(split.names) != split.examples else ""
        say(f"  {name}: {split.examples} examples{tiles}")
    for note in dataset.notes:
        say(f"  note: {note}")


def _tensorboard(workdir: Path) -> Any:
    """clu's writer, which needs TensorFlow; None, with one line saying so, where that is absent."""
    # TensorFlow only writes event files here: what it says of its own speed is noise.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    try:
        import tensorflow as tf
        from clu import metric_writers
    except ImportError:
        say('TensorBoard is off (metrics.jsonl is written): pip install -e ".[tf]" turns it on')
        return None
    tf.config.set_visible_devices([], "GPU")  # else TensorFlow takes the memory JAX needs
    return metric_writers.AsyncWriter(metric_writers.SummaryWriter(str(workdir)))


class RunLog:
    """Writes a run's metrics and figures under its workdir, and its progress to the console."""

    def __init__(
        self, workdir: str, total_steps: int, batch_size: int, start_step: int, wandb: Any = None
    ):
        """Args: where to write; the run's length, examples a step, and the step it begins at.

        `wandb` is the run that `wandb_log.start` gives.

        Lines of metrics.jsonl after `start_step` come from a run that was cut off before it could
        save; they are dropped, since the same steps are about to be logged again.
        """
        self.workdir, self.total_steps, self.batch_size = Path(workdir), total_steps, batch_size
        self.metrics_path = self.workdir / "metrics.jsonl"
        _drop_lines_after(self.metrics_path, start_step)
        self.metrics_file = open(self.metrics_path, "a")  # noqa: SIM115 (closed by close())
        self._thread, self._opening = ThreadPoolExecutor(1), None
        self.wandb = wandb
        self._recorded, self._told = Clock(), Clock()

    def open_tensorboard(self) -> None:
        """Begins to import what writes TensorBoard's files, which takes seconds, in a thread."""
        if self._opening is None:
            self._opening = self._thread.submit(_tensorboard, self.workdir)

    @property
    def writer(self) -> Any:
        """clu's writer, or None; waits until it is open."""
        self.open_tensorboard()
        return self._opening.result()

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Appends one line to metrics.jsonl and the same scalars to TensorBoard."""
        values = {name: float(value) for name, value in values.items()}
        # JSON has no NaN; null is what readers of JSON expect in its place.
        finite = {k: v if math.isfinite(v) else None for k, v in values.items()}
        self.metrics_file.write(json.dumps({"step": step, **finite}) + "\n")
        self.metrics_file.flush()
        if self.writer:
            self.writer.write_scalars(step, values)
        if self.wandb:
            wandb_log.scalars(self.wandb, step, finite)

    def progress(self, step: int, values: dict[str, float], epoch: float) -> None:
        """The values and the rate in the metrics, and as a line of the console with the time left.

        The console gets a line a second at most, and the last one: a GPU does hundreds of steps in
        that time.
        """
        record = {f"train/{name}": value for name, value in values.items()}
        rate = self._recorded.rate(step)
        if rate:
            record["images_per_second"] = rate * self.batch_size
        if self._told.seconds() >= SECONDS_BETWEEN_LINES or step == self.total_steps:
            line = f"step {step}/{self.total_steps}  epoch {epoch:.2f}  {table(values)}"
            rate = self._told.rate(step)
            if rate:
                left = duration((self.total_steps - step) / rate)
                line += f"  {rate * self.batch_size:.1f} images/s  left {left}"
            say(line)
        self.metrics(step, {"epoch": epoch, **record})

    def pause_clock(self) -> None:
        """Compilation, evaluation and drawing are not training: leave them out of the rate."""
        self._recorded.pause()
        self._told.pause()

    def start_clock(self, step: int) -> None:
        """Begins a new reading of the rate at `step`, unless one is under way."""
        self._recorded.start(step)
        self._told.start(step)

    def figure(self, step: int, name: str, image: np.ndarray) -> None:
        """Saves a picture or a film as `save_figure` and shows it in TensorBoard.

        TensorBoard plays no films: it gets the last frame.
        """
        save_figure(self.workdir, name, step, image)
        if self.writer:
            self.writer.write_images(step, {name: image[-1:] if image.ndim == 4 else image[None]})
        if self.wandb:
            wandb_log.figure(self.wandb, step, name, image)

    def close(self) -> None:
        """Flushes everything."""
        self.metrics_file.close()
        if self._opening and self.writer:
            self.writer.close()
        self._thread.shutdown()
        if self.wandb:
            self.wandb.finish()


class NoLog:
    """What the processes write that leave it to process 0: nothing."""

    def metrics(self, step, values):
        pass

    def progress(self, step, values, epoch):
        pass

    def figure(self, step, name, image):
        pass

    def open_tensorboard(self):
        pass

    def pause_clock(self):
        pass

    def start_clock(self, step):
        pass

    def close(self):
        pass


def save_figure(workdir: str | Path, name: str, step: int, image: np.ndarray) -> None:
    """Saves uint8 [H, W, 3] as figures/<name>_<step>.png in a workdir.

    A film, uint8 [F, H, W, 3], becomes <name>_<step>.gif.
    """
    folder = Path(workdir) / "figures"
    folder.mkdir(exist_ok=True)
    if image.ndim == 4:
        write_gif(folder / f"{name}_{step}.gif", image, FILM_FPS)
    else:
        Image.fromarray(image).save(folder / f"{name}_{step}.png")


class Evaluation(NamedTuple):
    """What evaluation.json holds.

    Attributes:
      split: of the data.
      step: the checkpoint's.
      examples: how many were judged.
      data: what `about_data` tells.
      metrics: {name: value}.
      tables: of `Report.tables`.
    """

    split: str
    step: int
    examples: int
    data: dict[str, Any]
    metrics: dict[str, float]
    tables: dict[str, list[dict[str, Any]]]


def about_data(dataset: Dataset, config: ConfigDict, saved: ConfigDict) -> dict[str, Any]:
    """Which data were judged, and what of the config was another than the run's."""
    path = config.data.get("path", "")
    return {
        "source": dataset.source,
        "path": os.path.abspath(os.path.expanduser(path)) if path else "",
        "fingerprint": dataset.fingerprint,
        "config": overrides(config, saved),
    }


def say_evaluation(result: Evaluation, headline: Sequence[str]) -> None:
    """Prints the tables and `<split>: metrics`, those of `headline`."""
    for name, rows in result.tables.items():
        _say_rows(name, rows)
    say(
        f"{result.split}: {table(result.metrics, headline)}  "
        f"({result.examples} examples, step {result.step})"
    )


def write_evaluation(workdir: str | Path, result: Evaluation) -> None:
    """Writes evaluation.json and each table as tables/<split>_<name>.csv.

    An earlier evaluation.json goes to evaluations/<split>_<step>_<number>.json.

    Raises:
      OSError: the workdir cannot be written.
    """
    record = result._asdict()
    if not result.tables:
        del record["tables"]
    path = Path(workdir) / "evaluation.json"
    with contextlib.suppress(FileNotFoundError, ValueError):
        earlier = json.loads(path.read_text())
        if earlier != json.loads(json.dumps(record)):
            _keep(earlier, path.with_name("evaluations"))
    write_json(path, record)
    for name, rows in result.tables.items():
        if rows:
            _write_csv(path.with_name("tables") / f"{result.split}_{name}.csv", rows)


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, {column: None for row in rows for column in row})
        writer.writeheader()
        writer.writerows(rows)


def _keep(record: dict[str, Any], folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    name, number = f"{record.get('split')}_{record.get('step')}", 1
    while (folder / f"{name}_{number}.json").exists():
        number += 1
    write_json(folder / f"{name}_{number}.json", record)


def _say_rows(name: str, rows: list[dict[str, Any]]) -> None:
    """One table in columns, its numbers to three digits; long ones are left to evaluation.json."""
    if not rows or len(rows) > 20 or len(rows[0]) > 10:
        return
    cells = [
        [*rows[0]],
        *[[f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows],
    ]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    say(f"{name}:")
    for row in cells:
        say("  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))


def _drop_lines_after(path: Path, step: int) -> None:
    """Drops the records of later steps, and whatever is no record: a line that a kill cut short."""
    if not path.exists():
        return
    kept, odd = [], 0
    for line in path.read_bytes().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + b"\n")
        except (ValueError, TypeError, KeyError):
            odd += 1
    if odd:
        say(f"note: {path}: dropped {odd} lines that are no records")
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(b"".join(kept))
    temporary.replace(path)
