"""What is made of a split that was measured: errors in pixels and degrees, figures, a film."""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxvision.console import say
from jaxvision.errors import UserError
from jaxvision.input_pipeline.dataset import Dataset, Split, fingerprint
from jaxvision.task import Measured, Report
from jaxvision.tasks.keypoints import figures, films, poses, write
from jaxvision.tasks.keypoints import metrics as metrics_keypoints
from jaxvision.visualize.film import write_film


def make_report(config, info: dict[str, Any]) -> Report:
    """The report of a config and the data set's `info`; `draw`, which needs the network, is added
    by `make`.

    Raises:
      UserError: options of `predict` or `heading` that cannot be meant.
    """
    setup = poses.make_setup(config, info)
    names, angles = setup.keypoints, setup.angles
    return Report(
        measure=functools.partial(_measure, info, angles),
        fit=_fit,
        metrics=functools.partial(_metrics, names, angles),
        headline=(
            "mean_pixel_error",
            "pck_2",
            *(f"{a.name}_error_degrees" for a in angles),
            "loss",
        ),
        figures=functools.partial(_figures, names, angles),
        highlights=lambda measured, fitted: {"worst": _worst(measured.rows["pixels"])},
        adapt=functools.partial(adapt, config.model.name, info),
        finish=functools.partial(_finish, config, setup),
    )


def _measure(info, angles, outputs, batch):
    rows = metrics_keypoints.row_errors(outputs["points"], batch, angles)
    baselines = metrics_keypoints.baseline_points(info, batch["blob"])
    for name, points in zip(("mean_position", "image_moments"), baselines, strict=True):
        errors = metrics_keypoints.row_errors(points, batch, angles)
        rows |= {f"{name}_{what}": values for what, values in errors.items()}
    rows["spread"] = outputs["spread"] * batch["scale"][:, None]
    return Measured({}, rows)


def _fit(measured):
    """How the error that the network expects of itself compares with the error it makes."""
    pixels, spread = measured.rows["pixels"], measured.rows["spread"]
    known = np.isfinite(pixels)
    if not known.any():
        return {"error_per_spread": 1.0}
    return {"error_per_spread": float(np.median(pixels[known]) / np.median(spread[known]))}


def _metrics(names, angles, measured, fitted):
    """The summaries of all rows, and 'loss': NaN where the outputs alone were measured."""
    del fitted
    sums = measured.sums
    weight = float(sums.get("loss_weight", 0))
    loss = float(sums["loss"]) / weight if weight else float("nan")
    return {**metrics_keypoints.summarize(measured.rows, names, angles), "loss": loss}


def _worst(pixels):
    """Rows by their largest error."""
    return np.argsort(-np.nan_to_num(pixels, nan=-1.0).max(1))


def _figures(names, angles, measured, fitted):
    del fitted
    rows = measured.rows
    labels = [angle.name for angle in angles]
    return {"errors": figures.error_figure(rows["pixels"], names, rows["degrees"], labels)}


class _ByName(NamedTuple):
    """Rows with the points of `order`; -1: one that the rows do not have. Picklable."""

    split: Split
    order: tuple[int, ...]

    def __call__(self, row: int) -> dict[str, np.ndarray]:
        values = self.split.read(row)
        known = np.array([k >= 0 for k in self.order])
        points = np.where(known[:, None], values["points"][list(self.order)], 0)
        visible = np.where(known, values["visible"][list(self.order)], 0)
        return {
            **values,
            "points": points.astype(np.float32),
            "visible": visible.astype(np.float32),
        }


def adapt(model_name: str, info: dict[str, Any], dataset: Dataset) -> Dataset:
    """Other data with the model's points, in the model's order: points are matched by name.

    What the data lacks is judged as not visible, what the model does not know is left out; a note
    says so.

    Raises:
      UserError: no point in common; pictures that the model cannot take.
    """
    ours, theirs = list(info["keypoints"]), list(dataset.info["keypoints"])
    _check_pictures(model_name, info["image"], dataset)
    if ours == theirs:
        return dataset
    missing = [name for name in ours if name not in theirs]
    extra = [name for name in theirs if name not in ours]
    if len(missing) == len(ours):
        raise UserError(
            f"{dataset.source}: its points are {', '.join(theirs)}, the model locates "
            f"{', '.join(ours)}: none in common. Points are matched by name: rename those of the "
            "data"
        )
    order = tuple(theirs.index(name) if name in theirs else -1 for name in ours)
    notes = list(dataset.notes)
    if missing:
        notes.append(f"points that the data does not have are not judged: {', '.join(missing)}")
    if extra:
        notes.append(f"points that the model does not know are left out: {', '.join(extra)}")
    return dataset._replace(
        splits={
            name: split._replace(read=_ByName(split, order))
            for name, split in dataset.splits.items()
        },
        notes=notes,
        info={**dataset.info, "keypoints": ours},
        fingerprint=fingerprint([dataset.fingerprint, "points by name", *order]),
        training=None,
    )


def _check_pictures(model_name: str, trained: list[int], dataset: Dataset) -> None:
    given = dataset.info["image"]
    if given[2] != trained[2]:
        raise UserError(
            f"{dataset.source}: pictures of {given[2]} channels, the model was trained on "
            f"{trained[2]}: set data.color={trained[2] == 3}"
        )
    if model_name == "coordinate" and list(given) != list(trained):
        raise UserError(
            f"{dataset.source}: pictures of {given[1]} x {given[0]} pixels, but the coordinate net "
            f"takes {trained[1]} x {trained[0]} alone: set data.image_size as in training"
        )


def _finish(config, setup, apply, dataset, output, fitted):
    """Films what `config.film` names, else the test split, in its order."""
    options = config.film
    try:
        if options.path:
            film = films.open_film(Path(options.path).expanduser(), options.fps)
        elif "test" in dataset.splits:
            film, setup = _split_film(dataset.splits["test"], options.fps, setup)
        else:
            return
        path = Path(output) / "film.mp4"
        film = films.first_frames(film, options.max_frames)
        items = write.film_poses(apply, film, setup, fitted)
        write_film(path, write.pose_frames(items, setup), film.fps)
        say(f"film: {path}")
    except UserError as error:  # the training itself is done
        say(f"no film: {error}")


def _split_film(split: Split, fps: float, setup: poses.Setup):
    """A split's pictures as a film, and the setup that takes them as they are."""

    def read(rows):
        return (split.read(int(row))["image"] for row in rows)

    film = films.row_film("the test split", fps, len(split.names), read)
    whole = setup._replace(image_size=0, info={**setup.info, "crop_size": 0})
    return film, whole
