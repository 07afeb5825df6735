"""Shards of pictures, predicted and written one after the other by one process."""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ml_collections import ConfigDict

from jaxvision import batching, cache
from jaxvision.batch_inference import schema
from jaxvision.batch_inference.entry import Entry, own_path, read
from jaxvision.batch_inference.plan import Plan, read_shards, sync
from jaxvision.engine import Engine
from jaxvision.errors import FileError, UserError
from jaxvision.input_pipeline.download import is_url
from jaxvision.input_pipeline.images import decode_bytes
from jaxvision.input_pipeline.parallel import cpu_threads, in_threads
from jaxvision.task import Prepared

MAX_PIXELS = 2**26  # of a picture: it is held as a whole, by each thread
ADDRESS_THREADS = 32  # where pictures are fetched: these wait, mostly
NOTHING = Prepared(np.zeros((0, 1), np.uint8), None)
FINISHING = 2  # answers a thread that wait to become rows


class Done(NamedTuple):
    """A shard that is written: its number, its rows, and how many of these are failures."""

    shard: int
    rows: int
    failed: int


class _Read(NamedTuple):
    """A picture that is ready for the model, or why it is not."""

    shard: int
    entry: Entry
    prepared: Prepared
    error: str = ""


def predict_shards(
    engine: Engine, config: ConfigDict, plan: Plan, shards: Iterable[int], threads: int = 0
) -> Iterator[Done]:
    """Predicts shards and writes each once it is whole.

    Pictures are read and prepared by threads while the model works on those before. Every batch has
    the full size and holds pictures of one shard, so whoever does a shard gets the same numbers.

    Args:
      engine: the model.
      config: `predict.batch_size` and `data.range` count.
      plan: what the shards are of.
      shards: their numbers; those that are written have their files replaced.
      threads: for reading; 0: one a core.

    Raises:
      UserError: the input's list is damaged, or the model cannot take its pictures.
      OSError: a result cannot be written.
    """
    threads, size = threads or cpu_threads(), config.predict.batch_size
    pictures = read_shards(plan, shards)
    first = next(pictures, None)
    if first is None:
        return
    pictures = itertools.chain([first], pictures)
    readers = max(threads, ADDRESS_THREADS if is_url(first[1].path.decode("latin-1")) else 0)
    ahead = max(2, -(-2 * size // readers))  # two batches: one may be taken while one fills up
    prepare = _preparing(engine, plan.root, config.data.range)
    schema_ = schema.results(engine.predictor.columns)
    read_ahead = in_threads(prepare, pictures, readers, ahead)
    for shard, group in itertools.groupby(read_ahead, key=lambda picture: picture.shard):
        answers = batching.apply_in_batches(
            engine.predict,
            ((picture, picture.prepared.inputs) for picture in group),
            batch_size=size,
            devices=engine.devices,
            whole=True,
        )
        row = _rows(engine, plan.root)
        rows = list(in_threads(row, answers, threads, FINISHING))
        yield _write(plan, shard, rows, schema_)


def _preparing(engine: Engine, root: Path, value_range: tuple) -> Callable[..., _Read]:
    """Returns prepare((shard, entry)) -> _Read."""

    predictor = engine.predictor

    def prepare(item: tuple[int, Entry]) -> _Read:
        shard, entry = item
        try:
            content = read(entry, root)
            pixels = decode_bytes(content, MAX_PIXELS, value_range, predictor.least_side)
            return _Read(shard, entry, predictor.prepare(pixels))
        except Exception as error:
            return _Read(shard, entry, NOTHING, _reason(error))

    return prepare


def _rows(engine: Engine, root: Path) -> Callable[..., dict[str, Any]]:
    """Returns row((picture, outputs)) -> {column: value}."""

    def row(answer: tuple[_Read, dict[str, np.ndarray]]) -> dict[str, Any]:
        (_, entry, prepared, error), outputs = answer
        if error:
            return {"id": entry.id, "error": error}
        try:
            prediction = engine.predictor.decode(outputs, prepared.context, engine.fitted)
            values = engine.predictor.row(prediction, own_path(entry, root))
        except Exception as error:
            return {"id": entry.id, "error": _reason(error)}
        return {"id": entry.id, **values}

    return row


def _reason(error: Exception) -> str:
    """Why one picture is left without an answer; raises what would keep all others from theirs."""
    if isinstance(error, FileError):
        return " ".join(str(error).split())
    if isinstance(error, (UserError, ImportError, MemoryError)):
        raise error
    # Whatever a strange picture makes of code that was not written for it is told of that picture.
    return " ".join(f"{type(error).__name__}: {error}".split())


def _write(plan: Plan, shard: int, rows: list[dict[str, Any]], columns: pa.Schema) -> Done:
    failed = sum("error" in row for row in rows)
    about = json.dumps({"key": plan.key, "shard": shard, "failed": failed})
    table = pa.Table.from_pylist(rows, columns.with_metadata({"jaxvision": about}))
    with cache.atomic_file(plan.path(shard)) as file:
        pq.write_table(table, file, compression="zstd")
        sync(file)
    return Done(shard, len(rows), failed)
