"""Where the time of one train step goes, by operation.

    python -m benchmarks.step_profile --config=configs/fer.py
    python -m benchmarks.step_profile --config=configs/unet.py --top=40

Takes JAX's own trace of some steps on one batch. A CPU runs a step's operations one after the
other, each on all cores, so their times add up to the step; the time of a loop's operations is not
counted again in the loop's. What an operation is for follows from where in the code it was traced
(`op_name` in the compiled program); XLA fuses, and a fusion counts as what its last operation is.
"""

import collections
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import jax
from absl import app, flags, logging
from jax.profiler import ProfileData
from ml_collections import ConfigDict, config_flags

from benchmarks import jax_side
from benchmarks.timing import machine, write_result
from jaxvision import large_pages
from jaxvision.sharding import shard_batch
from jaxvision.training.advance import jitted_steps
from jaxvision.training.run import initial_state, make_optimizer

FLAGS = flags.FLAGS
CONVOLUTION = "conv_general_dilated"


class Operation(NamedTuple):
    """An instruction of the compiled program.

    Attributes:
      shape: of its result, as XLA writes it.
      traced: where it was traced, '' where XLA made it.
    """

    shape: str
    traced: str


def operations(text: str) -> dict[str, Operation]:
    """The instructions of a compiled program's text, by name."""
    found = {}
    for line in text.splitlines():
        match = re.match(r"\s+(?:ROOT )?%?([\w.\-]+) = (\S+) [\w\-]+\(", line)
        if match:
            traced = re.search(r'op_name="([^"]*)"', line)
            found[match[1]] = Operation(match[2].split("{")[0], traced[1] if traced else "")
    return found


def purpose(name: str, operation: Operation) -> str:
    """What an instruction is for."""
    traced, backward = operation.traced, "transpose(" in operation.traced
    if "_augment" in traced or re.match(r"jit\(\w+\)/vmap", traced):
        return "augmentation"
    if backward and "while/body" in traced:
        return "weight gradients, image by image"
    if re.search(r"_bn\b|_BN\b|batch_norm|BatchNorm", traced):
        return "batch norm"
    if CONVOLUTION in traced or "dot_general" in traced:
        return "gradients of convolutions" if backward else "convolutions"
    if "pool" in traced:
        return "pooling"
    if not traced or name.startswith(("copy", "transpose_copy")):
        return "copies and what XLA adds"
    if "jvp(" in traced:
        return "activations and the rest of the network"
    return "optimizer and sums"


def own_times(events: Iterable[tuple[float, float, str]]) -> dict[str, float]:
    """Nanoseconds of each name, less those of the events within.

    Args:
      events: (start, duration, name) of one thread.
    """
    times, open_events = collections.Counter(), []
    for start, duration, name in sorted(events, key=lambda event: (event[0], -event[1])):
        while open_events and open_events[-1][0] <= start:
            open_events.pop()
        if open_events:
            times[open_events[-1][1]] -= duration
        times[name] += duration
        open_events.append((start + duration, name))
    return times


def read_trace(folder: str) -> dict[str, float]:
    """Nanoseconds of each instruction in the trace under a folder."""
    times = collections.Counter()
    (path,) = Path(folder).rglob("*.xplane.pb")
    for plane in ProfileData.from_file(str(path)).planes:
        for line in plane.lines:
            of_ops = []
            for event in line.events:
                stats = dict(event.stats)
                if "hlo_op" in stats and "step" in stats.get("hlo_module", ""):
                    of_ops.append((event.start_ns, event.duration_ns, stats["hlo_op"]))
            times.update(own_times(of_ops))
    return times


def profile(config: ConfigDict, steps: int) -> tuple[dict[str, float], dict[str, Operation]]:
    """(milliseconds a step of each instruction, the instructions)."""
    with tempfile.TemporaryDirectory() as folder:
        run = jax_side.make_run(config, folder)
        state, batch = initial_state(run, make_optimizer(run)), jax_side.first_batch(run)
        step, _ = jitted_steps(run)
        compiled = step.lower(state, shard_batch(run.mesh, batch)).compile()
        contestant = jax_side.bare_step(run, state, batch)
        contestant.run(3 * config.batch_size)
        with jax.profiler.trace(f"{folder}/trace"):
            contestant.run(steps * config.batch_size)
        times = read_trace(f"{folder}/trace")
    return {name: t / steps / 1e6 for name, t in times.items()}, operations(compiled.as_text())


def tables(times: dict[str, float], known: dict[str, Operation], top: int) -> dict:
    """Milliseconds a step by purpose, and of the `top` instructions; JSON-able."""
    missing = Operation("", "")
    by_purpose = collections.Counter()
    for name, milliseconds in times.items():
        by_purpose[purpose(name, known.get(name, missing))] += milliseconds
    longest = sorted(times, key=times.get, reverse=True)[:top]
    return {
        "milliseconds": sum(times.values()),
        "by_purpose": dict(by_purpose.most_common()),
        "longest": [
            {"op": n, "milliseconds": times[n], **known.get(n, missing)._asdict()} for n in longest
        ],
    }


def show(result: dict) -> None:
    """Prints the tables."""
    total = result["milliseconds"]
    print(f"{total:.1f} ms a step\n\n| for | ms | share |\n|---|---:|---:|")
    for name, milliseconds in result["by_purpose"].items():
        print(f"| {name} | {milliseconds:.1f} | {milliseconds / total:.2f} |")
    print()
    for row in result["longest"]:
        place = "/".join(row["traced"].split("/")[-4:])
        print(f"{row['milliseconds']:7.2f} ms  {row['op']:<36} {row['shape']:<24} {place}")


def main(argv: list[str]) -> None:
    """Profiles, prints and writes."""
    del argv
    logging.set_verbosity(logging.WARNING)
    result = tables(*profile(FLAGS.config, FLAGS.steps), FLAGS.top)
    show(result)
    name = Path(config_flags.get_config_filename(FLAGS["config"])).stem
    default = f"benchmarks/results/step_profile_{name}_{jax.default_backend()}.json"
    write_result(FLAGS.out or default, {"machine": machine(), **result})


def define_flags() -> None:
    """Not on import: the benchmarks share names, and tests import several."""
    config_flags.DEFINE_config_file("config", "configs/unet.py")
    flags.DEFINE_integer("steps", 10, "Steps that are traced.")
    flags.DEFINE_integer("top", 25, "Instructions that are listed.")
    flags.DEFINE_string("out", "", "Result; '': benchmarks/results/step_profile_*.json.")


if __name__ == "__main__":
    large_pages.start_again()  # as main.py does
    define_flags()
    app.run(main)
