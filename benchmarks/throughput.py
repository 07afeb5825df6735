"""Images a second of training and inference, beside a PyTorch version of the same model.

python -m benchmarks.throughput --config=configs/unet.py
python -m benchmarks.throughput --config=configs/unet.py --config.data.path=/data/aerial --no_torch

Everything runs in one process, in turn, several rounds; medians count. See benchmarks/README.md.
"""

import os
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from benchmarks import counterparts, jax_side, startup
from benchmarks.timing import (
    Contestant,
    in_turn,
    machine,
    medians,
    peak_rss_gib,
    write_result,
)
from jaxvision import large_pages, workdir
from jaxvision.training.run import Run, initial_state, make_optimizer
from jaxvision.training.train_state import TrainState

FLAGS = flags.FLAGS

# What is worth dividing: (numerator, denominator) of the rates.
RATIOS = (
    ("jax loop", "jax step"),
    ("jax loop, streaming", "jax step"),
    ("jax step", "torch step"),
    ("jax step", "torch compiled step"),
    ("jax inference", "torch inference"),
    ("onnxruntime inference", "torch inference"),
    ("jax inference", "torch compiled inference"),
)


def jax_contestants(
    run: Run, state: TrainState, batch: dict[str, np.ndarray]
) -> dict[str, Contestant]:
    """Everything that is timed on our side; a piece is an image."""
    return {
        "jax step": jax_side.bare_step(run, state, batch),
        "jax loop": jax_side.whole_loop(run, state, resident=True),
        "jax loop, streaming": jax_side.whole_loop(run, state, resident=False),
        "jax inference": jax_side.inference(run, state, batch["image"]),
    }


def torch_contestants(
    config: ConfigDict, batch: dict[str, np.ndarray], trained_parameters: int, compiled: bool
) -> dict[str, Contestant]:
    """The same model in PyTorch, with `compiled` also through torch.compile.

    Raises:
      ValueError: the config's model has no counterpart in PyTorch.
    """
    found = {}
    for name in ("torch", "torch compiled") if compiled else ("torch",):
        made = counterparts.contestants(config, batch, trained_parameters, name != "torch")
        found |= {f"{name} {what}": contestant for what, contestant in made.items()}
    return found


def ratios(rates: dict[str, float]) -> dict[str, float]:
    """{'a / b': rate of a by rate of b}, of what was measured."""
    return {f"{a} / {b}": rates[a] / rates[b] for a, b in RATIOS if a in rates and b in rates}


def memory() -> dict[str, float]:
    """GiB at the largest so far: of this process (host), and of each framework on a GPU."""
    found = {"this process": peak_rss_gib(os.getpid())}
    statistics = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in statistics:
        found["jax on the device"] = statistics["peak_bytes_in_use"] / 2**30
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_available():
        found["torch on the device"] = torch.cuda.max_memory_allocated() / 2**30
    return found


def measure(
    config: ConfigDict,
    with_torch: bool,
    compiled: bool,
    rounds: int,
    seconds: float,
    with_onnx: bool = False,
) -> dict:
    """Rates, ratios and memory of a config; JSON-able."""
    with tempfile.TemporaryDirectory() as folder:
        run = jax_side.make_run(config, folder)
        state, batch = initial_state(run, make_optimizer(run)), jax_side.first_batch(run)
        parameters = jax_side.trained_parameters(state)
        contestants = jax_contestants(run, state, batch)
        if with_onnx:
            contestants["onnxruntime inference"] = jax_side.onnx_inference(
                run, state, batch["image"]
            )
        if with_torch:
            contestants |= torch_contestants(config, batch, parameters, compiled)
        rates = in_turn(contestants, rounds, seconds)
    return {
        "data": run.dataset.source,
        "batch": list(batch["image"].shape),
        "dtype": config.train.dtype,
        "trained_parameters": parameters,
        "images_per_second": medians(rates),
        "ratios": ratios(medians(rates)),
        "peak_memory_gib": memory(),
        "rounds": rates,
    }


def show(result: dict) -> None:
    """Prints a result as a small table."""
    print(f"{result['machine']['device']}, {result['machine']['cpu']}")
    parameters = f"{result['trained_parameters']:,} trained parameters"
    print(f"batch {result['batch']}, {result['dtype']}, {parameters}")
    for name, rate in result["images_per_second"].items():
        low, high = min(result["rounds"][name]), max(result["rounds"][name])
        print(f"  {name:<26}{rate:10.1f} images/s   ({low:.1f} to {high:.1f})")
    for name, value in result["ratios"].items():
        print(f"  {name:<42}{value:6.2f}")
    for name, value in result["peak_memory_gib"].items():
        print(f"  peak memory, {name:<29}{value:6.2f} GiB")
    for name, start in result["start_up"].items():
        seconds, gib = start["seconds"], start["peak_rss_gib"]
        print(f"  start to first step, {name:<21}{seconds:6.1f} s   (peak memory {gib:.2f} GiB)")


def main(argv: list[str]) -> None:
    """Measures, prints and writes."""
    del argv
    logging.set_verbosity(logging.WARNING)  # orbax tells its settings
    given = [arg for arg in sys.argv[1:] if arg.startswith("--config")]
    if not any(arg.startswith("--config=") for arg in given):
        given.insert(0, "--config=configs/unet.py")
    # First, while this process holds no memory of the device.
    start_up = startup.measure(given)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # leave PyTorch some memory
    workdir.keep_compiled_programs()
    result = measure(
        FLAGS.config,
        not FLAGS.no_torch,
        FLAGS.torch_compile,
        FLAGS.repeats,
        FLAGS.seconds,
        FLAGS.onnx,
    )
    result = {"machine": machine(), "config": FLAGS.config.to_dict(), **result}
    result["start_up"] = start_up
    show(result)
    name = Path(config_flags.get_config_filename(FLAGS["config"])).stem
    default = f"benchmarks/results/throughput_{name}_{jax.default_backend()}.json"
    write_result(FLAGS.out or default, result)


def define_flags() -> None:
    """Not on import: the benchmarks share names, and tests import several."""
    config_flags.DEFINE_config_file("config", "configs/unet.py")
    flags.DEFINE_integer("repeats", 5, "Rounds; every contestant has one turn in each.")
    flags.DEFINE_float("seconds", 5.0, "About how long a turn is.")
    flags.DEFINE_bool("no_torch", False, "Leave PyTorch out.")
    flags.DEFINE_bool("torch_compile", False, "Also time torch.compile of the same model.")
    flags.DEFINE_bool("onnx", False, "Also time inference of the ONNX export, on onnxruntime.")
    flags.DEFINE_string(
        "out", "", "Result file; '': benchmarks/results/throughput_<config>_<device>."
    )


if __name__ == "__main__":
    large_pages.start_again()  # as main.py does
    define_flags()
    app.run(main)
