"""What bounds each train step on an H100, reckoned from its program; nothing is measured.

python -m benchmarks.roofline

Each step is lowered for CUDA, which needs no GPU. Its FLOPs, bytes and kernels are counted as
`benchmarks/hlo.py` says, and divided by what the chip can do at most (`benchmarks/gpu/chips.py`).
"""

import tempfile
from pathlib import Path
from typing import Any

from absl import app, logging

from benchmarks import hlo, jax_side
from benchmarks.gpu import chips
from benchmarks.gpu.systems import SYSTEMS
from benchmarks.gpu.table import head, row
from benchmarks.timing import machine, write_result
from jaxvision.training.advance import jitted_steps

# Assumed, not from a datasheet: the least time from the start of one small kernel to the next.
KERNEL_SECONDS = 2.5e-6


def reckon(name: str, quick: bool = False) -> dict[str, Any]:
    """FLOPs, bytes, kernels and the times that they take at least, of one step; JSON-able."""
    found = {}
    for dtype in ("float32", "bfloat16"):
        with tempfile.TemporaryDirectory() as folder:
            config = SYSTEMS[name].config(quick, Path(folder))
            config.train.dtype = dtype
            run = jax_side.make_run(config, folder)
            step, _ = jitted_steps(run)
            batch = jax_side.first_batch(run)
            program = hlo.lower_for_cuda(step, jax_side.state_shapes(run), batch)
            found[dtype] = hlo.cost(program)
    exact, half, peak = found["float32"], found["bfloat16"], chips.H100
    seconds = {p: exact.flops / (1e12 * rate) for p, rate in peak.tflops.items()}
    seconds |= {f"bytes {d}": c.bytes / (1e12 * peak.terabytes) for d, c in found.items()}
    seconds["kernels"] = exact.kernels * KERNEL_SECONDS
    return {
        "batch": list(batch["image"].shape),
        "float32": exact._asdict(),
        "bfloat16": half._asdict(),
        "microseconds": {what: 1e6 * value for what, value in seconds.items()},
        "bound": {p: bound(seconds, p) for p in peak.tflops},
    }


def bound(seconds: dict[str, float], precision: str) -> str:
    """Which of the three takes longest."""
    size = "bfloat16" if precision == "bfloat16" else "float32"
    times = {
        "compute": seconds[precision],
        "memory": seconds[f"bytes {size}"],
        "kernels": seconds["kernels"],
    }
    return max(times, key=times.get)


def table(found: dict[str, dict[str, Any]]) -> str:
    """A row a system."""
    names = ["system", "batch", "GFLOP", "MB, float32 / bfloat16", "FLOP a byte", "kernels"]
    names += ["compute, float32 / TF32 / bfloat16", "memory, float32 / bfloat16", "kernels, µs"]
    lines = head([*names, "bound, float32 / TF32 / bfloat16"])
    for name, known in found.items():
        exact, half, times = known["float32"], known["bfloat16"], known["microseconds"]
        computing = (f"{times[p]:.0f}" for p in ("float32", "tf32", "bfloat16"))
        moving = (f"{times[f'bytes {d}']:.0f}" for d in ("float32", "bfloat16"))
        cells = [name, " x ".join(map(str, known["batch"])), f"{exact['flops'] / 1e9:.2f}"]
        cells += [f"{exact['bytes'] / 1e6:.0f} / {half['bytes'] / 1e6:.0f}"]
        cells += [f"{exact['flops'] / exact['bytes']:.0f}", f"{exact['kernels']:.0f}"]
        cells += [f"{' / '.join(computing)} µs", f"{' / '.join(moving)} µs"]
        cells += [f"{times['kernels']:.0f}", " / ".join(known["bound"].values())]
        lines.append(row(cells))
    return "\n".join(lines)


def main(argv: list[str]) -> None:
    """Reckons, prints and writes."""
    del argv
    logging.set_verbosity(logging.WARNING)  # orbax tells its settings
    found = {name: reckon(name) for name in SYSTEMS}
    print(table(found))
    result = {"machine": machine(), "kernel_seconds": KERNEL_SECONDS, "systems": found}
    write_result("benchmarks/results/roofline_h100.json", result)


if __name__ == "__main__":
    app.run(main)
