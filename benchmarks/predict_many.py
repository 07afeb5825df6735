"""100,000 small pictures predicted on this host and by Ray, each run killed twice on the way.

python -m benchmarks.predict_many --data=/data/fer2013 --folder=/scratch/many

See benchmarks/README.md.
"""

import contextlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from absl import app, flags
from PIL import Image

from benchmarks.timing import ROOT, Contestant, in_turn, machine, medians, write_result
from jaxvision import workdir
from jaxvision.engine import Engine, open_engine, read_config
from jaxvision.input_pipeline.images import decode_image

FLAGS = flags.FLAGS
MEMBERS = 1000  # pictures a tar
SHARD_ROWS = 1024
LOOK_SECONDS = 0.5  # between looks at memory
KILLS = (1 / 3, 2 / 3)  # shares of the shards after which a run is killed


def make_tars(data: Path, folder: Path, pictures: int) -> str:
    """Tar files of pictures that are those of `data`, shifted and brightened; their pattern."""
    count = -(-pictures // MEMBERS)
    pattern = str(folder / f"{{0000..{count - 1:04d}}}.tar")
    if (folder / f"{count - 1:04d}.tar").exists():
        return pattern
    folder.mkdir(parents=True, exist_ok=True)
    paths = sorted(data.rglob("*.jpg"))
    for number in range(count):
        with tarfile.open(folder / f"part-{number:04d}", "w") as tar:
            for i in range(number * MEMBERS, min((number + 1) * MEMBERS, pictures)):
                content = _varied(paths[i % len(paths)], i)
                about = tarfile.TarInfo(f"{i:08d}.jpg")
                about.size = len(content)
                tar.addfile(about, io.BytesIO(content))
        (folder / f"part-{number:04d}").rename(folder / f"{number:04d}.tar")
    return pattern


def _varied(path: Path, seed: int) -> bytes:
    """A JPEG of a picture, moved by up to two pixels each way and brightened or darkened a bit."""
    rng = np.random.default_rng(seed)
    with Image.open(path) as image:
        pixels = np.roll(np.asarray(image.convert("L")), rng.integers(-2, 3, 2), (0, 1))
    file = io.BytesIO()
    brighter = np.clip(pixels.astype(int) + rng.integers(-20, 21), 0, 255).astype(np.uint8)
    Image.fromarray(brighter).save(file, "JPEG", quality=90)
    return file.getvalue()


def bare_step(engine: Engine, paths: list[Path], batch_size: int) -> Contestant:
    """The model alone on one batch of pictures that are ready for it."""
    inputs = np.concatenate([engine.predictor.prepare(decode_image(p)).inputs for p in paths])

    def go(pictures: int) -> int:
        calls = -(-pictures // batch_size)
        for _ in range(calls):
            outputs = {name: np.asarray(v) for name, v in engine.predict(inputs).items()}
        return calls * len(outputs["logits"])

    return Contestant(go, warm_up=4 * batch_size)


def killed_twice(command: list[str], output: Path, shards: int) -> dict:
    """Runs a command until it has ended by itself, after SIGKILL at KILLS of its shards.

    Returns:
      pictures_per_second: of each start, from its first finished shard to its last.
      seconds: of each start, from the command to its end.
      memory_gib: [rows, GiB] every LOOK_SECONDS, of the process and all that it started.
    """
    found = {"pictures_per_second": [], "seconds": [], "memory_gib": [], "killed_after_shards": []}
    for share in (*KILLS, 2.0):
        before, start = set(_finished(output)), time.time()
        process = subprocess.Popen(command, cwd=ROOT)
        while process.poll() is None:
            done = len(_finished(output))
            if done >= share * shards:
                process.send_signal(signal.SIGKILL)
                process.wait()
                found["killed_after_shards"].append(done)
                break
            found["memory_gib"].append([done * SHARD_ROWS, round(tree_gib(process.pid), 3)])
            time.sleep(LOOK_SECONDS)
        found["seconds"].append(round(time.time() - start, 1))
        time.sleep(1)  # what a killed run has started ends a moment later, and may end a shard
        times = sorted(path.stat().st_mtime for path in set(_finished(output)) - before)
        rate = (len(times) - 1) * SHARD_ROWS / (times[-1] - times[0])
        found["pictures_per_second"].append(round(rate, 1))
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return found


def _finished(output: Path) -> list[Path]:
    return list((output / "predictions").glob("*.parquet"))


def tree_gib(pid: int) -> float:
    """Memory of a process and all below it; pages that several share count once (PSS)."""
    total = 0
    with contextlib.suppress(OSError):  # it has ended meanwhile
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            total += int(line.split()[1]) if line.startswith("Pss:") else 0
        for task in Path(f"/proc/{pid}/task").iterdir():
            children = (task / "children").read_text().split()
            return total / 2**20 + sum(map(tree_gib, map(int, children)))
    return total / 2**20


def ids_of(output: Path) -> Iterator[str]:
    for path in sorted(_finished(output)):
        yield from pq.read_table(path, columns=["id"])["id"].to_pylist()


def same_rows(one: Path, other: Path) -> bool:
    """Whether all shards of two outputs hold the same."""
    pairs = zip(sorted(_finished(one)), sorted(_finished(other)), strict=True)
    return all(pq.read_table(a).equals(pq.read_table(b)) for a, b in pairs)


def measure(pattern: str, folder: Path) -> dict:
    """Both engines, and the bare step before them and after; JSON-able."""
    config = read_config(FLAGS.model)
    engine, size = open_engine(config, FLAGS.model), config.predict.batch_size
    paths = sorted(Path(FLAGS.data).rglob("*.jpg"))[:size]
    bare = {"bare step": bare_step(engine, paths, size)}
    rounds = in_turn(bare, FLAGS.repeats, FLAGS.seconds)
    shards, runs = -(-FLAGS.pictures // SHARD_ROWS), {}
    for name, options in (("local", ()), ("ray", (f"--workers={FLAGS.workers}",))):
        output = folder / name
        shutil.rmtree(output, ignore_errors=True)
        command = [sys.executable, "main.py", "--mode=predict", f"--workdir={FLAGS.model}"]
        command += [f"--input={pattern}", f"--output={output}", f"--engine={name}", *options]
        runs[name] = killed_twice([*command, f"--shard_rows={SHARD_ROWS}"], output, shards)
        ids = list(ids_of(output))
        runs[name] |= {"rows": len(ids), "different_ids": len(set(ids))}
    rounds["bare step"] += in_turn(bare, FLAGS.repeats, FLAGS.seconds)["bare step"]
    return {
        "pictures": FLAGS.pictures,
        "batch": [size, *engine.predictor.prepare(decode_image(paths[0])).inputs.shape[1:]],
        "bare_step_pictures_per_second": medians(rounds)["bare step"],
        "rounds": rounds,
        "runs": runs,
        "same_rows": same_rows(folder / "local", folder / "ray"),
    }


def main(argv: list[str]) -> None:
    """Measures, prints and writes."""
    del argv
    workdir.keep_compiled_programs()
    folder = Path(FLAGS.folder)
    pattern = make_tars(Path(FLAGS.data), folder / "tars", FLAGS.pictures)
    if FLAGS.only_make:
        return
    load = os.getloadavg()
    result = {"load_before": load, **measure(pattern, folder), "load_after": os.getloadavg()}
    write_result(FLAGS.out, {"machine": machine(), **result})
    print(f"bare step {result['bare_step_pictures_per_second']:,.0f} pictures/s")
    for name, run in result["runs"].items():
        gib = [value for _, value in run["memory_gib"]]
        print(f"{name}: {run['pictures_per_second']} pictures/s, at most {max(gib):.2f} GiB")
        print(f"  {run['rows']:,} rows, {run['different_ids']:,} different ids")
    print(f"same rows: {result['same_rows']}")


def define_flags() -> None:
    """Not on import: the benchmarks share names, and tests import several."""
    flags.DEFINE_string("data", "", "A folder of small JPEGs.")
    flags.DEFINE_string("folder", "", "Where tar files and results go.")
    flags.DEFINE_string("model", "zoo/fer", "A run's folder, or an exported model's.")
    flags.DEFINE_integer("pictures", 100_000, "How many are made, and predicted.")
    flags.DEFINE_integer("workers", 0, "Of Ray.")
    flags.DEFINE_integer("repeats", 3, "Rounds of the bare step, before and after.")
    flags.DEFINE_float("seconds", 2.0, "About how long a round is.")
    flags.DEFINE_bool("only_make", False, "Make the tar files, and measure nothing.")
    flags.DEFINE_string("out", "benchmarks/results/predict_many_cpu.json", "Result file.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
