"""Trains variants of a config with several seeds and compares them: markdown, csv and JSON.

python -m benchmarks.fer_table --data=/data/fer2013 --out=workdir/fer_table
python -m benchmarks.fer_table --data=/data/fer2013 --variants=cnn4,resnet18 --seeds=5

Every run is `main.py` in a process of its own (`jaxvision.sweep.processes`), in
<out>/<variant>_<seed>; a finished run is not repeated, one that was cut off is resumed.
`--config.x=y` goes to every run.
"""

import csv
import json
import statistics
import sys
from pathlib import Path

from absl import app, flags

from benchmarks.timing import machine, write_result
from jaxvision.sweep import processes

FLAGS = flags.FLAGS

# Every family that the system has, from scratch on small pictures.
VARIANTS = (
    "cnn4",
    "cnn5",
    "se_cnn",
    "vgg_face",
    "vgg16_bn",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet18_se",
    "resnet18_cbam",
    "resnet18_mixed",
)
COLUMNS = (
    "variant",
    "parameters",
    "images_per_second",
    "seeds",
    "val",
    "val_sd",
    "test",
    "test_sd",
)


def is_finished(workdir: Path, overrides: list[str]) -> bool:
    """Whether the run is there already.

    Raises:
      UsageError: it is, but of other overrides: a table must not mix the two.
    """
    if not (workdir / "evaluation.json").exists():
        return False
    before = json.loads(workdir.with_suffix(".args").read_text())
    if before != overrides:
        raise app.UsageError(
            f"{workdir} was trained with {' '.join(before) or 'no overrides'}: use another --out"
        )
    return True


def read_run(workdir: Path, metric: str) -> dict[str, float]:
    """What a finished run measured: parameters, images_per_second, val and test of `metric`."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    rates = [line["images_per_second"] for line in lines if line.get("images_per_second")]
    vals = [line[f"val/{metric}"] for line in lines if line.get(f"val/{metric}") is not None]
    evaluation = json.loads((workdir / "evaluation.json").read_text())
    output = (workdir / processes.OUTPUT).read_text().splitlines()
    told = next(x for x in output if x.startswith("model: "))
    return {
        "parameters": int(told.split()[1].replace(",", "")),
        "images_per_second": statistics.median(rates) if rates else float("nan"),
        "val": max(vals),  # the step that was kept: the best on val
        "test": evaluation["metrics"][metric],
    }


def summary(variant: str, runs: list[dict[str, float]]) -> dict:
    """One row of the table: means over the seeds, and their standard deviation."""
    row = {"variant": variant, "parameters": runs[0]["parameters"], "seeds": len(runs)}
    row["images_per_second"] = statistics.median(run["images_per_second"] for run in runs)
    for split in ("val", "test"):
        values = [run[split] for run in runs]
        row[split] = statistics.mean(values)
        row[f"{split}_sd"] = statistics.stdev(values) if len(values) > 1 else None
    return {name: row[name] for name in COLUMNS}


def markdown(rows: list[dict], metric: str) -> str:
    """The table, best on validation first."""
    lines = [
        f"| variant | parameters | images/s | seeds | val {metric} | test {metric} |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in sorted(rows, key=lambda row: -row["val"]):
        shown = {}
        for split in ("val", "test"):
            spread = row[f"{split}_sd"]
            shown[split] = f"{row[split]:.4f}" + (f" ± {spread:.4f}" if spread is not None else "")
        lines.append(
            f"| {row['variant']} | {row['parameters']:,} | {row['images_per_second']:.0f} | "
            f"{row['seeds']} | {shown['val']} | {shown['test']} |"
        )
    return "\n".join(lines) + "\n"


def write_tables(out: Path, rows: list[dict], metric: str) -> None:
    """<out>/table.md and <out>/table.csv, of what is measured so far."""
    (out / "table.md").write_text(markdown(rows, metric))
    with open(out / "table.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def main(argv: list[str]) -> None:
    """Trains what is not trained yet, and writes the tables after every run."""
    overrides = argv[1:]
    wrong = [argument for argument in overrides if not argument.startswith("--config.")]
    if wrong:
        raise app.UsageError(f"unexpected {wrong[0]!r}: runs take --config.<field>=<value>")
    if FLAGS.data:
        overrides.append(f"--config.data.path={FLAGS.data}")
    out = Path(FLAGS.out)
    out.mkdir(parents=True, exist_ok=True)
    runs = {variant: [] for variant in FLAGS.variants}
    rows, failed = [], {}
    for seed in range(FLAGS.seeds):  # every variant once before any twice: a table early on
        for variant in FLAGS.variants:
            workdir = out / f"{variant}_{seed}"
            try:
                if not is_finished(workdir, overrides):
                    print(f"{variant}, seed {seed}: training in {workdir}", flush=True)
                    workdir.with_suffix(".args").write_text(json.dumps(overrides))
                    config = f"--config={FLAGS.config_file}:{variant}"
                    processes.run(workdir, [config, f"--config.seed={seed}", *overrides])
                runs[variant].append(read_run(workdir, FLAGS.metric))
            except RuntimeError as error:  # one variant out of memory must not end the others
                failed[workdir.name] = str(error)
                print(error, file=sys.stderr)
            rows = [summary(name, done) for name, done in runs.items() if done]
            write_tables(out, rows, FLAGS.metric)
            result = {"machine": machine(), "overrides": overrides, "rows": rows, "failed": failed}
            write_result(out / "table.json", result)
    if rows:
        print(markdown(rows, FLAGS.metric))
    if failed:
        sys.exit(f"{len(failed)} runs failed: {', '.join(failed)}")


def define_flags() -> None:
    """Not on import: the benchmarks share names, and tests import several."""
    flags.DEFINE_string("config_file", "configs/fer.py", "The config whose variants are compared.")
    flags.DEFINE_list("variants", list(VARIANTS), "Which: what follows the config's colon.")
    flags.DEFINE_integer("seeds", 3, "Runs of each, with seeds 0, 1, ...", 1)
    flags.DEFINE_string("data", "", "data.path of every run; '': the built-in data.")
    flags.DEFINE_string("metric", "accuracy", "What is compared.")
    flags.DEFINE_string("out", "workdir/fer_table", "Folder of the runs and the tables.")


if __name__ == "__main__":
    define_flags()
    # What absl does not know goes on to the runs.
    app.run(main, flags_parser=lambda argv: FLAGS(argv, known_only=True))
