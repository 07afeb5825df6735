"""Every speed of the five systems on one GPU, beside PyTorch, in one command that may be repeated.

python -m benchmarks.gpu                                25 minutes; again: goes on with what is left
python -m benchmarks.gpu --minutes=9 --mnist=/data/mnist --fer=/data/fer2013
python -m benchmarks.gpu --quick --systems=rat --precisions=tf32        on a CPU: does it work

See benchmarks/README.md.
"""

import functools
import os
import sys
from pathlib import Path

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # leave PyTorch some memory

import jax
from absl import app, flags, logging

from benchmarks import startup
from benchmarks.gpu import cells, recipes, table
from benchmarks.gpu.record import Cell, Part, Record, measure
from benchmarks.gpu.systems import SYSTEMS
from benchmarks.timing import machine
from jaxvision import workdir
from jaxvision.errors import UserError

FLAGS = flags.FLAGS
START_LIMIT = 150.0  # seconds for one start of main.py


def parts(options: flags.FlagValues, runs: Path) -> list[Part]:
    """All there is to measure, what matters most first; budgets in minutes, 25 in all."""
    names, quick = options.systems, options.quick
    turns = cells.Turns(options.rounds, options.seconds)

    def timed(part: str) -> list[Cell]:
        return [
            Cell(
                f"{part}/{name}/{precision}",
                lambda left, n=name, p=precision: cells.measure(part, n, p, quick, turns),
            )
            for precision in options.precisions
            for name in names
        ]

    starts = [
        Cell(f"starts/{name}", functools.partial(_start, name, quick))
        for name in names
        if name != "perception_finetuned"  # main.py's is, on built-in data, trained as a whole
    ]
    found = [
        Part("steps", 9, timed("steps")),
        Part("mnist", 2, [_recipe("mnist", options.mnist, options, runs)]),
        Part("starts", 3.5, starts),
        Part("compiled", 4, timed("compiled")),
        Part("streaming", 1.5, timed("streaming")),
        Part("fer", 5, [_recipe("fer", options.fer, options, runs)]),
    ]
    return [part for part in found if part.name in options.parts]


def _start(name: str, quick: bool, left: float) -> dict:
    return startup.measure(SYSTEMS[name].flags(quick), START_LIMIT)


def _recipe(name: str, data: str, options: flags.FlagValues, runs: Path) -> Cell:
    def train(left):
        if not data and not options.quick:
            return {"skipped": {name: f"no --{name}=FOLDER was given"}}
        return recipes.run(recipes.RECIPES[name], runs / name, data, options.quick, left)

    return Cell(f"recipes/{name}", train)


def out_path(options: flags.FlagValues) -> Path:
    """Where the record goes."""
    kind = jax.local_devices()[0].device_kind.lower().replace(" ", "_")
    return Path(options.out or f"benchmarks/results/gpu_{kind}.json")


def main(argv: list[str]) -> int:
    """Measures what is missing, prints and writes; 1 where something failed."""
    del argv
    logging.set_verbosity(logging.WARNING)  # orbax tells its settings
    unknown = set(FLAGS.systems) - set(SYSTEMS)
    if unknown:
        raise UserError(f"--systems: {', '.join(sorted(unknown))} unknown: {', '.join(SYSTEMS)}")
    workdir.keep_compiled_programs()
    path, device = out_path(FLAGS), jax.local_devices()[0]
    record = Record(path, {"device": device.device_kind, "quick": FLAGS.quick}, machine())
    tell = functools.partial(print, flush=True)
    tell(f"{device.device_kind}: {FLAGS.minutes:g} minutes; {path}")
    left = measure(record, parts(FLAGS, path.with_suffix("")), FLAGS.minutes, tell)
    text = table.markdown(record.data)
    path.with_suffix(".md").write_text(text + "\n")
    tell(f"\n{text}\nwritten to {path} and {path.with_suffix('.md')}")
    if left:
        tell(f"left for another start of the same command: {', '.join(left)}")
    failures = record.failures()
    for what, why in failures.items():
        tell(f"failed: {what}: {why}")
    return 1 if failures else 0


def define_flags() -> None:
    """Not on import: the benchmarks share names, and tests import several."""
    flags.DEFINE_float("minutes", 25.0, "After so long no further cell is begun.")
    flags.DEFINE_bool("quick", False, "Tiny sizes, to see on a CPU that everything works.")
    flags.DEFINE_string("mnist", "", "MNIST's folder, for the recipe.")
    flags.DEFINE_string("fer", "", "FER2013's folder, for the recipe.")
    flags.DEFINE_list("systems", list(SYSTEMS), "Which.")
    flags.DEFINE_multi_enum("precisions", list(cells.PRECISIONS), cells.PRECISIONS, "Which.")
    flags.DEFINE_list(
        "parts", ["steps", "mnist", "starts", "compiled", "streaming", "fer"], "Which."
    )
    flags.DEFINE_integer("rounds", 3, "Every contestant has one turn in each.")
    flags.DEFINE_float("seconds", 0.6, "About how long a turn is.")
    flags.DEFINE_string("out", "", "Record; '': benchmarks/results/gpu_<device>.json.")


def run(argv: list[str]) -> None:
    """`main`, with an error of the user's in one line."""
    try:
        sys.exit(main(argv))
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    define_flags()
    app.run(run)
