"""Perception scores by cross-validation, beside the mean and a ridge on colour histograms.

python -m benchmarks.perception_folds --config.data.path=/data/streets --folds=5
python -m benchmarks.perception_folds --config.data.path=/data/streets --sample_pairs=4000 \
    --config.loss.scores=0 --config.loss.votes=1

Each fold is a run of `main.py` in a process of its own (`jaxvision.sweep.processes`) with its own
test split; nothing is chosen on it. See benchmarks/README.md.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from absl import app, flags
from ml_collections import ConfigDict, config_flags

from benchmarks.timing import machine, write_result
from jaxvision.input_pipeline import loader, score_scale
from jaxvision.input_pipeline.dataset import Dataset, Split
from jaxvision.input_pipeline.readers.perception import files as perception_files
from jaxvision.input_pipeline.readers.perception.votes import CHOICES
from jaxvision.input_pipeline.synthetic.perception import make_votes
from jaxvision.sweep import processes
from jaxvision.tasks.perception import metrics as metrics_perception

FLAGS = flags.FLAGS
BINS = 4  # of each colour channel: 64 colours
PENALTIES = np.logspace(-3, 3, 13)  # of the ridge; chosen on validation


def colour_histograms(split: Split) -> np.ndarray:
    """The square roots of the shares of 64 colours in each photo, float64 [N, 64]."""
    found = []
    for row in range(len(split.names)):
        levels = split.read(row)["image"].astype(int) * BINS // 256
        colours = (levels[..., 0] * BINS + levels[..., 1]) * BINS + levels[..., 2]
        found.append(np.bincount(colours.ravel(), minlength=BINS**3) / colours.size)
    return np.sqrt(np.array(found))


def ridge(x: np.ndarray, y: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights [F, A] and intercepts [A] of least squares with an L2 penalty on the weights."""
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    centred = x - x_mean
    gram = centred.T @ centred + penalty * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, centred.T @ (y - y_mean))
    return weights, y_mean - x_mean @ weights


def ridge_predictions(
    features: dict[str, np.ndarray], targets: dict[str, np.ndarray]
) -> np.ndarray:
    """Predictions for test by a ridge fitted on train, its penalty chosen on val. [N, A]

    Each attribute is fitted on the photos that have its score, with the penalty that suits it.
    """
    columns = []
    for a in range(targets["train"].shape[1]):
        known = {s: np.isfinite(targets[s][:, a]) for s in targets}
        x, y = features["train"][known["train"]], targets["train"][known["train"], a, None]
        fits = [ridge(x, y, penalty) for penalty in PENALTIES]
        seen, truth = features["val"][known["val"]], targets["val"][known["val"], a]
        errors = [np.mean((seen @ w[:, 0] + b - truth) ** 2) for w, b in fits]
        weights, intercept = fits[int(np.argmin(errors))]
        columns.append(features["test"] @ weights[:, 0] + intercept)
    return np.stack(columns, axis=1)


def baselines(dataset: Dataset) -> dict[str, dict[str, float]]:
    """The test metrics of the training mean, and of a ridge on colour histograms."""
    scale = score_scale.from_info(dataset.info)
    targets = {
        name: score_scale.to_target(scale, split.read.columns["score"])
        for name, split in dataset.splits.items()
    }
    features = {name: colour_histograms(split) for name, split in dataset.splits.items()}
    spread = np.broadcast_to(scale.std, targets["test"].shape)
    predictions = {
        "mean": np.broadcast_to(scale.mean, targets["test"].shape),
        "colour histogram + ridge": ridge_predictions(features, targets),
    }
    return {
        name: metrics_perception.summarize(scale, targets["test"], predicted, spread)
        for name, predicted in predictions.items()
    }


def add_votes(source: Path, folder: Path, pairs: int, seed: int) -> Path:
    """A data set as `source`, with votes sampled from its scores: {folder}/scores.csv, votes.csv.

    `pairs` random pairs of photos are compared once for every attribute, with the noise of the
    built-in scenes' voters.
    """
    listing = perception_files.list_photos(source)
    scores = perception_files.attribute_matrix(listing.photos, len(listing.attributes))
    lines = [",".join(["file", *listing.attributes])]
    lines += [",".join([photo.path, *map(str, photo.scores)]) for photo in listing.photos]
    (folder / "scores.csv").write_text("\n".join(lines) + "\n")
    table = make_votes(np.random.default_rng(seed), scores, pairs)
    votes = ["left,right,attribute,choice"]
    votes += [
        f"{listing.photos[left].name},{listing.photos[right].name},"
        f"{listing.attributes[asked]},{CHOICES[choice]}"
        for left, right, asked, choice in table.tolist()
    ]
    (folder / "votes.csv").write_text("\n".join(votes) + "\n")
    return folder


def run_fold(
    config: ConfigDict, arguments: list[str], fold: int, folder: Path
) -> dict[str, dict[str, float]]:
    """Trains on all folds but one; the test metrics of the model and of the baselines.

    A run that was cut off goes on; one that is finished is not repeated.

    Args:
      config: of all folds; `arguments` are those of main.py that make it.
      fold: that is tested on.
      folder: where the runs are.
    """
    config = ConfigDict(config.to_dict())
    config.data.fold = fold
    found = baselines(loader.load_dataset(config))
    evaluation = folder / f"fold_{fold}" / "evaluation.json"
    if not evaluation.exists():
        print(f"fold {fold}: training in {evaluation.parent}", flush=True)
        processes.run(evaluation.parent, [*arguments, f"--config.data.fold={fold}"])
    return {"model": json.loads(evaluation.read_text())["metrics"], **found}


def averages(folds: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, list[float]]]:
    """{who: {metric: [mean over the folds, standard deviation]}}, without the intervals."""
    found = {}
    for who in folds[0]:
        names = [n for n in folds[0][who] if not n.endswith(("_low", "_high"))]
        values = {name: [fold[who][name] for fold in folds] for name in names}
        found[who] = {n: [float(np.mean(v)), float(np.std(v))] for n, v in values.items()}
    return found


def main(argv: list[str]) -> None:
    """Trains every fold, prints and writes."""
    del argv
    config = FLAGS.config
    config.data.folds = FLAGS.folds
    arguments = [a for a in sys.argv[1:] if a.lstrip("-").startswith(("config=", "config."))]
    arguments.append(f"--config.data.folds={FLAGS.folds}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(FLAGS.runs or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if FLAGS.sample_pairs:
            source = Path(config.data.path)
            config.data.path = str(add_votes(source, folder, FLAGS.sample_pairs, config.seed))
            arguments.append(f"--config.data.path={config.data.path}")
        wanted = range(FLAGS.first_folds or FLAGS.folds)
        folds = [run_fold(config, arguments, fold, folder) for fold in wanted]
    result = {"machine": machine(), "averages": averages(folds), "folds": folds}
    for who, values in result["averages"].items():
        listed = ("pearson", "spearman", "r2", "mae", "within_one_decile")
        line = "  ".join(f"{n} {values[n][0]:.3f} +- {values[n][1]:.3f}" for n in listed)
        print(f"{who:<26}{line}", flush=True)
    write_result(FLAGS.out, result)


def define_flags() -> None:
    """Not on import: the benchmarks share names, and tests import several."""
    if not any(arg.startswith("--config=") for arg in sys.argv):
        sys.argv.insert(1, "--config=configs/perception.py")
    config_flags.DEFINE_config_file("config")
    flags.DEFINE_integer("folds", 5, "Equal parts, by a hash of the photos' names.")
    flags.DEFINE_integer("first_folds", 0, "Train only so many of them; 0: all.")
    flags.DEFINE_integer("sample_pairs", 0, "Pairs to sample votes on, from the scores; 0: none.")
    flags.DEFINE_string("runs", "", "Folder of the folds' workdirs, to go on with; '': none.")
    flags.DEFINE_string("out", "benchmarks/results/perception_folds.json", "Result file.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
