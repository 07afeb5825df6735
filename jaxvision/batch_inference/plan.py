"""What is to be predicted, in shards, and what of it is done: the folder of the results.

manifest.json              input, model and options, as the folder was begun with
inputs.parquet             the pictures; row group i is shard i
predictions/<i>.parquet    shard i, a row a picture in the same order; there once it is whole
failures.csv               the pictures that could not be predicted, when all is done
"""

import collections
import contextlib
import fcntl
import hashlib
import itertools
import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from jaxvision import cache
from jaxvision.batch_inference import schema
from jaxvision.batch_inference.entry import Entry
from jaxvision.batch_inference.sources import Source
from jaxvision.console import say
from jaxvision.errors import UserError

MANIFEST, INPUTS, PREDICTIONS, FAILURES = (
    "manifest.json",
    "inputs.parquet",
    "predictions",
    "failures.csv",
)
FORMAT = 1
SHARD_ROWS = 1024
TOLD_SECONDS = 10.0  # between lines while pictures are listed
ANEW = "use another --output, or remove that folder to begin anew"


class Plan(NamedTuple):
    """Work that was begun in a folder; picklable.

    Attributes:
      folder: of the results.
      root: the folder that paths of entries are relative to.
      pictures: how many there are.
      shard_rows: pictures a shard; the last may have fewer.
      key: changes with input, model and options; stands in every shard.
    """

    folder: Path
    root: Path
    pictures: int
    shard_rows: int
    key: str

    @property
    def shards(self) -> int:
        return -(-self.pictures // self.shard_rows)

    def rows(self, shard: int) -> int:
        """Pictures in a shard."""
        return min(self.shard_rows, self.pictures - shard * self.shard_rows)

    def path(self, shard: int) -> Path:
        """Of a shard's results."""
        return self.folder / PREDICTIONS / f"{shard:06d}.parquet"


def begin(folder: Path, source: Source, named: str, model: dict[str, Any], shard_rows: int) -> Plan:
    """Lists the input and begins, or goes on with, the work in a folder.

    Args:
      folder: of the results; the caller holds its lock.
      source: the input.
      named: --input, to be told.
      model: what the results depend on beside the input; JSON-able, flat.
      shard_rows: 0: as the folder was begun with, else SHARD_ROWS.

    Raises:
      UserError: the input holds nothing, or the folder was begun with other input or another model.
    """
    clear_parts(folder)
    begun = _read_manifest(folder)
    if begun:
        _check_model(folder, begun, model, shard_rows)
        count, digest = list_entries(source, None, 0, named)
        if (count, digest) != (begun["pictures"], begun["digest"]):
            raise UserError(
                f"{folder} was begun with other input: {begun['pictures']:,} pictures of "
                f"{begun['input']!r} then, {count:,} of {named!r} now"
                f"{', but not the same ones' if count == begun['pictures'] else ''}; {ANEW}"
            )
        manifest = begun
    else:
        rows = shard_rows or SHARD_ROWS
        count, digest = list_entries(source, folder / INPUTS, rows, named)
        about = {"input": named, "pictures": count, "digest": digest, "shard_rows": rows}
        manifest = {"format": FORMAT, **about, "model": model}
        with cache.atomic_file(folder / MANIFEST) as file:
            file.write(json.dumps(manifest, indent=2).encode())
            sync(file)
    text = json.dumps([manifest["digest"], manifest["shard_rows"], manifest["model"]])
    key = hashlib.sha256(text.encode()).hexdigest()[:16]
    return Plan(folder, source.root.absolute(), count, manifest["shard_rows"], key)


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    path = folder / MANIFEST
    if not path.exists():
        if any((folder / PREDICTIONS).glob("*.parquet")):
            raise UserError(f"{folder} holds predictions, but no {MANIFEST}: {ANEW}")
        return None
    try:
        manifest = json.loads(path.read_text())
        found = manifest["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged: {ANEW}") from error
    if found != FORMAT:
        raise UserError(f"{path} has format {found}, and this code writes {FORMAT}: {ANEW}")
    return manifest


def _check_model(folder: Path, begun: dict, model: dict[str, Any], shard_rows: int) -> None:
    given = {**model, "shard_rows": shard_rows or begun["shard_rows"]}
    given = json.loads(json.dumps(given))
    saved = {**begun["model"], "shard_rows": begun["shard_rows"]}
    other = [
        f"{name}: {saved.get(name)!r} then, {given.get(name)!r} now"
        for name in {**saved, **given}
        if saved.get(name) != given.get(name)
    ]
    if other:
        raise UserError(f"{folder} was begun with another model ({'; '.join(other)}): {ANEW}")


def list_entries(
    source: Source, target: Path | None, shard_rows: int, named: str
) -> tuple[int, str]:
    """(how many pictures, a digest that does not depend on their order).

    Args:
      source: the input.
      target: a parquet file that is written, a row group a shard; None: none.
      shard_rows: of it.
      named: --input.

    Raises:
      UserError: there is no picture, or the input cannot be read.
    """
    left_out = collections.Counter()
    entries, counted = _counted(source.entries(left_out)), [0, 0]

    def summed() -> Iterator[Entry]:
        for entry in entries:
            counted[0] += 1
            counted[1] += _number(entry)
            yield entry

    if target is None:
        collections.deque(summed(), maxlen=0)
    else:
        _write_entries(summed(), target, shard_rows)
    count, total = counted
    if left_out:
        kinds = (f"{n:,} {kind or 'without extension'}" for kind, n in left_out.most_common(5))
        say(f"note: left out, as no pictures by their names: {', '.join(kinds)}")
    if not count:
        hint = f"; for what is in its tar files give '{named}/*.tar'" if left_out[".tar"] else ""
        raise UserError(f"--input={named!r} holds no picture{hint}")
    return count, f"{total % 2**128:032x}"


def _number(entry: Entry) -> int:
    text = repr((entry.id, entry.path, entry.offset, entry.size, entry.state)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "big")


def _counted(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Passes entries on and tells now and then how many there were."""
    told = time.monotonic()
    for count, entry in enumerate(entries):
        yield entry
        if count % 1000 == 0 and time.monotonic() > told + TOLD_SECONDS:
            told = time.monotonic()
            say(f"listed {count:,} pictures")


def _write_entries(entries: Iterator[Entry], target: Path, shard_rows: int) -> None:
    with (
        cache.atomic_file(target) as file,
        pq.ParquetWriter(file, schema.ENTRIES, compression="zstd") as writer,
    ):
        while rows := list(itertools.islice(entries, shard_rows)):
            columns = [[getattr(row, name) for row in rows] for name in schema.ENTRIES.names]
            table = pa.table(columns, schema=schema.ENTRIES)
            writer.write_table(table, row_group_size=shard_rows)
        sync(file)


def read_shards(plan: Plan, shards: Iterable[int]) -> Iterator[tuple[int, Entry]]:
    """(shard, entry) of every picture of some shards.

    Raises:
      UserError: inputs.parquet is missing or damaged.
    """
    path = plan.folder / INPUTS
    try:
        with pq.ParquetFile(path) as file:
            if file.metadata.num_rows != plan.pictures:
                raise pa.ArrowInvalid(f"{file.metadata.num_rows} rows")
            for shard in shards:
                columns = file.read_row_group(shard).to_pydict()
                for id_, path_, offset, size, problem in zip(*columns.values(), strict=True):
                    yield shard, Entry(id_, path_, offset, size, problem=problem)
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is damaged ({reason}): {ANEW}") from error


def missing_shards(plan: Plan) -> tuple[list[int], int, int]:
    """(shards to be done, damaged ones too; rows that are done; failures among these)."""
    (plan.folder / PREDICTIONS).mkdir(exist_ok=True)
    missing, rows, failed = [], 0, 0
    for shard in range(plan.shards):
        failures = failures_of(plan, shard)
        if failures is None:
            missing.append(shard)
        else:
            rows, failed = rows + plan.rows(shard), failed + failures
    return missing, rows, failed


def failures_of(plan: Plan, shard: int) -> int | None:
    """Failures in a finished shard; None where it is not finished, or is not of this work."""
    try:
        metadata = pq.read_metadata(plan.path(shard))
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException):
        say(f"note: {plan.path(shard)} is damaged, and done again")
        return None
    about = json.loads((metadata.metadata or {}).get(b"jaxvision", b"{}"))
    held = about.get("key"), about.get("shard"), metadata.num_rows
    if held != (plan.key, shard, plan.rows(shard)):
        say(f"note: {plan.path(shard)} is not of this work, and done again")
        return None
    return about["failed"]


def failures(plan: Plan) -> Iterator[tuple[str, str, int]]:
    """(id, reason, shard) of every picture that could not be predicted."""
    for shard in range(plan.shards):
        if failures_of(plan, shard):
            table = pq.read_table(plan.path(shard), columns=["id", "error"])
            for row in table.filter(table["error"].is_valid()).to_pylist():
                yield row["id"], row["error"], shard


def clear_parts(folder: Path) -> None:
    """Removes what processes that were killed have left half written."""
    for place in (folder, folder / PREDICTIONS):
        for part in place.glob(".part-*"):
            with contextlib.suppress(OSError):
                part.unlink()


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Holds the folder of the results for this process; made where it is not there.

    Raises:
      UserError: it cannot be written, or another process works in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = open(folder / ".lock", "a")  # noqa: SIM115 (held until the block ends)
    except OSError as error:
        raise UserError(f"cannot write to --output={str(folder)!r}: {error.strerror}") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another process predicts into {folder}: wait for it, stop it, or use another "
                "--output"
            ) from None
        yield


def sync(file: Any) -> None:
    """Has a file that is about to get its name reach the disk first."""
    file.flush()
    os.fsync(file.fileno())
