"""One cell: contestants of a system in one precision, in turn, with memory and shares of peak."""

import contextlib
import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks import counterparts, hlo, jax_side
from benchmarks.gpu import chips
from benchmarks.gpu.systems import SYSTEMS
from benchmarks.throughput import ratios
from benchmarks.timing import Contestant, in_turn, medians
from jaxvision.training.advance import jitted_steps
from jaxvision.training.run import Run, initial_state, make_optimizer
from jaxvision.training.train_state import TrainState, eval_variables

# In the order of their worth: jax's own choice for float32 on a GPU is TF32.
PRECISIONS = ("tf32", "bfloat16", "float32")
OURS = {
    "steps": ("jax step", "jax loop", "jax inference"),
    "compiled": ("jax step", "jax inference"),
    "streaming": ("jax step", "jax loop, streaming"),
}
THEIRS = {"steps": "torch", "compiled": "torch compiled"}
NEEDS = {"jax loop, streaming": "grain"}
MISSING = "ModuleNotFoundError"


class Turns(NamedTuple):
    """How long contestants are timed: rounds, and about the seconds of a turn."""

    rounds: int
    seconds: float


def measure(part: str, name: str, precision: str, quick: bool, turns: Turns) -> dict[str, Any]:
    """Rates, ratios, shares of the chip's peak and memory; JSON-able.

    Args:
      part: 'steps', 'compiled' or 'streaming': who takes part.
      name: of the system.
      precision: of PRECISIONS.
      quick: tiny sizes.
      turns: for `timing.in_turn`.
    """
    with tempfile.TemporaryDirectory() as folder, arithmetic(precision):
        config = SYSTEMS[name].config(quick, Path(folder))
        config.train.dtype = "bfloat16" if precision == "bfloat16" else "float32"
        run = jax_side.make_run(config, folder)
        state, batch = initial_state(run, make_optimizer(run)), jax_side.first_batch(run)
        programs = lowered(run, state, batch)
        makers = ours(part, run, state, batch)
        if part in THEIRS:
            parameters = jax_side.trained_parameters(state)
            makers |= theirs(THEIRS[part], config, batch, parameters)
        ready, memory, absent = {}, {}, {}
        for who, make in makers.items():
            ready |= tried(absent, who, lambda who=who, make=make: warmed(who, make))
            if who in ready:
                told = f"memory of {who}"
                memory |= tried(absent, told, lambda who=who: memory_gib(who, programs), who)
        rates = in_turn(ready, turns.rounds, turns.seconds)
        size = len(batch["image"])
        costs = tried(absent, "FLOPs", lambda: shares(programs, size, precision, medians(rates)))
    found = {
        "batch": list(batch["image"].shape),
        "images_per_second": medians(rates),
        "ratios": ratios(medians(rates)),
        "memory_gib": {who: gib for who, gib in memory.items() if gib is not None},
        **costs.get("FLOPs", {}),
        "rounds": rates,
    }
    missing = {who: text for who, text in absent.items() if text.startswith(MISSING)}
    failed = {who: text for who, text in absent.items() if who not in missing}
    kinds = {"skipped": missing, "failed": failed}
    return found | {kind: why for kind, why in kinds.items() if why}


def tried(
    absent: dict[str, str], what: str, make: Callable[[], Any], name: str = ""
) -> dict[str, Any]:
    """{name or what: made}; what raises goes into `absent`, and takes nothing else with it."""
    try:
        return {name or what: make()}
    except Exception as error:  # told in the record and at the end, with exit code 1
        first_line = str(error).partition("\n")[0]
        absent[what] = f"{type(error).__name__}: {first_line[:300]}"
        return {}


@contextlib.contextmanager
def arithmetic(precision: str) -> Iterator[None]:
    """Products and convolutions of float32 in float32 proper, or as TF32 (both frameworks)."""
    exact = precision == "float32"
    if importlib.util.find_spec("torch"):
        import torch

        torch.backends.cuda.matmul.allow_tf32 = not exact
        torch.backends.cudnn.allow_tf32 = not exact
    with jax.default_matmul_precision("float32" if exact else "default"):
        yield


def ours(
    part: str, run: Run, state: TrainState, batch: dict[str, np.ndarray]
) -> dict[str, Callable[[], Contestant]]:
    """{name: a function that makes the contestant} of our side."""
    makers = {
        "jax step": lambda: jax_side.bare_step(run, state, batch),
        "jax loop": lambda: jax_side.whole_loop(run, state, resident=True),
        "jax loop, streaming": lambda: jax_side.whole_loop(run, state, resident=False),
        "jax inference": lambda: jax_side.inference(run, state, batch["image"]),
    }
    return {who: makers[who] for who in OURS[part]}


def theirs(
    kind: str, config: Any, batch: dict[str, np.ndarray], parameters: int
) -> dict[str, Callable[[], Contestant]]:
    """The same of PyTorch's; both need the model, which the first to be made makes."""
    made: dict[str, Contestant] = {}

    def make(what):
        if not made:
            made.update(
                counterparts.contestants(config, batch, parameters, kind == "torch compiled")
            )
        return made[what]

    return {f"{kind} {what}": (lambda what=what: make(what)) for what in ("step", "inference")}


def warmed(who: str, make: Callable[[], Contestant]) -> Contestant:
    """A contestant that has run once.

    Raises:
      ModuleNotFoundError: the package that it needs is not there.
    """
    is_torch = who.startswith("torch")
    needed = "torch" if is_torch else NEEDS.get(who)
    if needed and not importlib.util.find_spec(needed):
        raise ModuleNotFoundError(f"{needed} is not installed")
    if is_torch and counterparts.device() == "cuda":
        import torch

        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    contestant = make()
    contestant.run(1)
    return contestant


def memory_gib(who: str, programs: dict[str, Any]) -> float | None:
    """The memory that a contestant that has just run takes on the device; None: it is not told.

    Ours from the compiled program, PyTorch's as its allocator saw it.
    """
    if who in programs:
        return program_gib(programs[who])
    if who.startswith("torch") and counterparts.device() == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / 2**30
    return None


def lowered(run: Run, state: TrainState, batch: dict[str, np.ndarray]) -> dict[str, Any]:
    """{contestant: its traced program}; those of a loop are as the step's."""
    step_once, _ = jitted_steps(run)
    variables = eval_variables(state, run.config.train.ema_decay)
    predict = jax.jit(run.task.model.predict)
    return {
        "jax step": step_once.trace(state, batch),
        "jax inference": predict.trace(variables, batch["image"]),
    }


def program_gib(traced: Any) -> float | None:
    """Arguments, results and scratch memory of a program on this device, GiB.

    The program is compiled already: it comes from the cache.
    """
    used = traced.lower().compile().memory_analysis()
    if used is None:
        return None
    total = used.argument_size_in_bytes + used.output_size_in_bytes + used.temp_size_in_bytes
    return (total - used.alias_size_in_bytes) / 2**30


def shares(
    programs: dict[str, Any], size: int, precision: str, rates: dict[str, float]
) -> dict[str, Any]:
    """FLOPs an image, ours and as `cost_analysis` counts them, and the shares of the chip's peak.

    The FLOPs are those of products and convolutions (`hlo.cost`), the same for PyTorch's.
    """
    costs, analysed = {}, {}
    for who, traced in programs.items():
        program = traced.lower(lowering_platforms=("cuda",))
        costs[who.split()[-1]] = hlo.cost(program)._asdict()
        analysed[who.split()[-1]] = (program.cost_analysis() or {}).get("flops")
    found = {"a_batch": costs, "cost_analysis_flops": analysed}
    peak = chips.peak_of(jax.local_devices()[0].device_kind)
    if peak is None:
        return found
    shared = {}
    for who, rate in rates.items():
        what = "inference" if "inference" in who else "step"
        flops = costs[what]["flops"] / size * rate
        shared[who] = flops / (1e12 * peak.tflops[precision])
    return {**found, "share_of_peak": shared}
