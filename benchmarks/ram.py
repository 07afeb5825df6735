"""Training images a second of recurrent attention, beside two PyTorch versions of it.

python -m benchmarks.ram --data=/data/mnist

MNIST's 6 glimpses of 8 x 8, batch 128; without --data on built-in digits of 28 x 28 pixels.
Everything runs in one process, in turn, several rounds; medians count.
"""

import os
import tempfile

import jax
from absl import app, flags, logging

from benchmarks import jax_side
from benchmarks.timing import Contestant, in_turn, machine, medians, write_result
from configs import ram
from jaxvision import workdir
from jaxvision.training.run import initial_state, make_optimizer

FLAGS = flags.FLAGS
MNIST_TRAIN = 60_000  # images of an epoch


def jax_contestants(config, folder: str) -> tuple[dict[str, Contestant], dict, int]:
    """Our step and our loop; a batch on the host; how many parameters are trained."""
    run = jax_side.make_run(config, folder)
    state, batch = initial_state(run, make_optimizer(run)), jax_side.first_batch(run)
    one = config.copy_and_resolve_references()
    one.train.steps_per_call = 1
    contestants = {
        "jax step": jax_side.bare_step(run, state, batch),
        "jax loop": jax_side.whole_loop(run, state, resident=True),
        "jax loop, one step a call": jax_side.whole_loop(
            run._replace(config=one), state, resident=True
        ),
    }
    return contestants, batch, jax_side.trained_parameters(state)


def torch_contestants(config, batch: dict, parameters: int) -> dict[str, Contestant]:
    """The same model in PyTorch, with patches cut in a loop and at once.

    Raises:
      ValueError: the PyTorch model is another one.
    """
    import torch

    from benchmarks import counterparts, ram_torch

    torch.set_num_threads(os.cpu_count())
    found = {}
    for name, retina in (("looped", ram_torch.Looped), ("vectorised", ram_torch.Vectorised)):
        model = ram_torch.make_model(config, batch, retina).to(counterparts.device())
        count = sum(parameter.numel() for parameter in model.parameters())
        if count != parameters:
            raise ValueError(f"the PyTorch model has {count:,} parameters, ours {parameters:,}")
        step = ram_torch.make_train_step(model, config, batch)
        found[f"torch, patches {name}"] = counterparts.contestant(step, batch)
    return found


def main(argv: list[str]) -> None:
    """Measures, prints and writes."""
    del argv
    logging.set_verbosity(logging.WARNING)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    workdir.keep_compiled_programs()
    config = ram.get_config("mnist")
    config.data.path, config.data.image_size = FLAGS.data, 28
    config.model.first = "random"  # as in the PyTorch versions
    with tempfile.TemporaryDirectory() as folder:
        contestants, batch, parameters = jax_contestants(config, folder)
        contestants |= torch_contestants(config, batch, parameters)
        rounds = in_turn(contestants, FLAGS.repeats, FLAGS.seconds)
    rates = medians(rounds)
    best = rates["jax loop"]
    result = {
        "machine": machine(),
        "batch": list(batch["image"].shape),
        "trained_parameters": parameters,
        "images_per_second": rates,
        "ratios": {f"jax loop / {n}": best / r for n, r in rates.items() if n.startswith("torch")},
        "seconds_an_epoch_of_mnist": {name: MNIST_TRAIN / rate for name, rate in rates.items()},
        "rounds": rounds,
    }
    for name, rate in rates.items():
        low, high = min(rounds[name]), max(rounds[name])
        seconds = f"{MNIST_TRAIN / rate:.1f} s an epoch of MNIST"
        print(f"  {name:<28}{rate:9.0f} images/s  ({low:.0f} to {high:.0f})  {seconds}")
    for name, ratio in result["ratios"].items():
        print(f"  {name:<40}{ratio:6.2f}")
    default = f"benchmarks/results/ram_{jax.default_backend()}.json"
    write_result(FLAGS.out or default, result)


def define_flags() -> None:
    """Not on import: the benchmarks share names, and tests import several."""
    flags.DEFINE_string("data", "", "MNIST's folder; '': built-in digits.")
    flags.DEFINE_integer("repeats", 5, "Rounds; every contestant has one turn in each.")
    flags.DEFINE_float("seconds", 3.0, "About how long a turn is.")
    flags.DEFINE_string("out", "", "Result file; '': benchmarks/results/ram_<device>.json.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
