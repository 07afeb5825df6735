"""A learned policy beside fixed ones: each trained with a network of its own, several seeds.

python -m benchmarks.glimpse_policies --config=configs/ram.py:cifar10 --config.data.path=/data/cifar

Every run's evaluation also puts the fixed policies before its own network; both comparisons are
written. Test split, best checkpoint by validation. Runs that are done are not trained again.
"""

import json
import sys
from pathlib import Path

import numpy as np
from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from benchmarks.timing import machine, write_result
from jaxvision import train, workdir
from jaxvision.tasks.attention.glimpses import FIXED

FLAGS = flags.FLAGS


def run(config: ConfigDict, policy: str, seed: int, folder: Path) -> dict:
    """Trains one policy with one seed, unless that was done; its evaluation.json."""
    config = config.copy_and_resolve_references()
    config.model.policy, config.seed = policy, seed
    place = folder / f"{policy}_{seed}"
    if not (place / "evaluation.json").exists():
        train.train(config, str(place))
    return json.loads((place / "evaluation.json").read_text())["metrics"]


def after_each_glimpse(metrics: dict, policy: str) -> list[float]:
    """PSNR in dB before the first and after each glimpse; the error alone for a classifier."""
    names = [name for name in metrics if name.startswith(f"psnr/{policy}/")]
    if names:
        return [metrics[name] for name in sorted(names, key=lambda n: int(n.split("/")[2]))]
    return [metrics["error" if policy == "own" else f"error_{policy}"]]


def table(found: dict[str, list[dict]]) -> dict:
    """{policy: mean and standard deviation over seeds}, trained for and with the learned network.

    Args:
      found: {policy: [metrics of each seed]}.
    """
    curves = {
        f"{policy}, network of its own": [after_each_glimpse(m, "own") for m in runs]
        for policy, runs in found.items()
    }
    if "learned" in found:
        for policy in FIXED:
            runs = [after_each_glimpse(m, policy) for m in found["learned"]]
            curves[f"{policy}, network of the learned policy"] = runs
    return {
        name: {
            "mean": np.mean(runs, axis=0).tolist(),
            "std": np.std(runs, axis=0, ddof=min(1, len(runs) - 1)).tolist(),
            "seeds": runs,
        }
        for name, runs in curves.items()
    }


def main(argv: list[str]) -> None:
    """Trains, prints and writes."""
    del argv
    logging.set_verbosity(logging.WARNING)
    workdir.keep_compiled_programs()
    folder, seeds = Path(FLAGS.folder), range(FLAGS.seeds)
    found = {
        policy: [run(FLAGS.config, policy, seed, folder) for seed in seeds]
        for policy in FLAGS.policies
    }
    result = {"machine": machine(), "config": FLAGS.config.to_dict(), "test": table(found)}
    result["gain_over_random_with_the_same_network"] = [
        m["gain_over_random"] for m in found.get("learned", [])
    ]
    for name, values in result["test"].items():
        print(f"{name:<40}", " ".join(f"{value:7.3f}" for value in values["mean"]))
    name = Path(config_flags.get_config_filename(FLAGS["config"]).partition(":")[0]).stem
    write_result(FLAGS.out or f"benchmarks/results/policies_{name}.json", result)
    sys.stdout.flush()


def define_flags() -> None:
    """Not on import: the benchmarks share names, and tests import several."""
    config_flags.DEFINE_config_file("config", "configs/ram.py")
    flags.DEFINE_multi_enum(
        "policies", ["learned", "random", "grid"], ["learned", *FIXED], "Which to train."
    )
    flags.DEFINE_integer("seeds", 3, "Runs of each.")
    flags.DEFINE_string("folder", "workdir/policies", "Where the runs are kept.")
    flags.DEFINE_string("out", "", "Result file; '': benchmarks/results/policies_<config>.json.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
