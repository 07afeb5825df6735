"""Named points of an animal, and which way it faces.

Batches hold 'image', uint8 [B, H, W, C]; 'points', float32 [B, K, 2], x and y in pixels, (0, 0) the
centre of the top left pixel; 'visible', float32 [B, K] in {0, 1}: what is 0 counts nowhere;
'scale', float32 [B], pixels of the file for one of the image; and 'blob', float32 [B, 4], the
animal's centroid and axis by image moments, for a baseline.
"""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxvision import losses
from jaxvision.console import say
from jaxvision.errors import UserError
from jaxvision.input_pipeline import images, video
from jaxvision.input_pipeline.augment import points as augment_points
from jaxvision.models import keypoints as models
from jaxvision.task import Measured, Task
from jaxvision.tasks.keypoints import figures as pose
from jaxvision.tasks.keypoints import follow as follow_animal
from jaxvision.tasks.keypoints import heading
from jaxvision.tasks.keypoints import metrics as metrics_keypoints
from jaxvision.tasks.keypoints import smoothing as smoothing_lib
from jaxvision.tasks.keypoints import tracks as tracks_lib
from jaxvision.tasks.keypoints import write as pose_files
from jaxvision.visualize import grid

MODELS = {"heatmap": models.HeatmapNet, "coordinate": models.CoordinateNet}
PEAK_RADIUS = 3  # heatmap cells
# A point is right, for its confidence, within this share of the picture's longer side.
RIGHT = 0.05
FIGURE_SIDE = 240  # pixels that a crop in a figure is enlarged to, about


def make(config: ConfigDict, info: dict[str, Any]) -> Task:
    """The task of a config and the data set's `info` (`input_pipeline.keypoints.make_info`).

    Raises:
      UserError: unknown model, heading points, smoothing or layout.
    """
    if config.model.name not in MODELS:
        raise UserError(f"model.name={config.model.name!r} is unknown: use one of {tuple(MODELS)}")
    smoothing_lib.check_method(config.predict.smoothing)
    tracks_lib.check_layout(config.predict.layout)
    names = tuple(info["keypoints"])
    angles = heading.find_angles(names, config.heading)
    model = MODELS[config.model.name](
        len(names), tuple(config.model.widths), dtype=jnp.dtype(config.train.dtype)
    )
    locate = functools.partial(_locate, model)
    return Task(
        init=lambda key, batch: model.init(key, batch["image"], train=False),
        load_weights=lambda variables: variables,
        augment=functools.partial(_augment, config.augment, heading.mirror_order(names)),
        loss=functools.partial(_loss, model, config.loss),
        metrics=functools.partial(_metrics, locate, info, angles),
        fit=_fit,
        summarize=lambda measured, fitted: _summarize(names, angles, measured),
        draw=functools.partial(_draw, jax.jit(locate), names, angles),
        predict=locate,
        decode=functools.partial(_decode, names, angles, info),
        predict_file=functools.partial(_predict_file, config, info, names, angles),
        trainable=lambda path: True,
        plots=functools.partial(_plots, names, angles),
        highlights=lambda measured, fitted: {"worst": _worst(measured.rows["pixels"])},
        collect=functools.partial(pose_files.collect, names, angles, config.predict),
        finish=functools.partial(_finish, config, info, names, angles),
        extensions=(*images.EXTENSIONS, ".npz", *video.EXTENSIONS),
    )


def _locate(model, variables, images):
    """{'points': float32 [B, K, 2], 'spread': float32 [B, K]}, in pixels of the image."""
    located = model.apply(variables, images, train=False)
    points = located.points
    if located.heatmaps is not None:
        points = models.peak_position(located.heatmaps, PEAK_RADIUS)
    return {"points": points, "spread": located.spread}


def _augment(options, swap, key, batch):
    height, width = batch["image"].shape[1:3]
    motions = {name: options[name] for name in ("rotate90", "flip", "rotation", "scale", "shift")}
    light = {name: options[name] for name in ("brightness", "contrast", "noise")}

    def one(key, image, points, visible):
        motion_key, light_key, label_key = jax.random.split(key, 3)
        motion = augment_points.random_motion(motion_key, height, width, **motions)
        image = augment_points.move_image(image, motion)
        image = augment_points.light_and_noise(light_key, image, **light)
        points, visible = augment_points.move_points(points, visible, motion, swap, height, width)
        points = points + options.label_noise * jax.random.normal(label_key, points.shape)
        return image, points, visible

    keys = jax.random.split(key, len(batch["image"]))
    image, points, visible = jax.vmap(one)(keys, batch["image"], batch["points"], batch["visible"])
    return {**batch, "image": image, "points": points, "visible": visible}


def _loss(model, options, params, extra, batch, key):
    del key
    located, updated = model.apply(
        {"params": params, **extra}, batch["image"], train=True, mutable=list(extra)
    )
    loss, pixels = _row_losses(options, located, batch)
    loss = losses.weighted_mean(loss, batch["visible"])
    seen = batch["visible"].sum()
    sums = {
        "loss": (loss, jnp.ones(())),
        "pixel_error": ((pixels * batch["visible"]).sum(), seen),
    }
    return loss, ({**extra, **updated}, sums)


def _row_losses(options, located, batch):
    """Loss and distance in pixels of every point, [B, K] each, visible or not."""
    offsets = located.points - batch["points"]
    pixels = jnp.sqrt((offsets**2).sum(-1) + 1e-6)
    if located.heatmaps is None:
        # The spread learns from the errors (a Laplace distribution), the errors not from it.
        spread = jax.lax.stop_gradient(pixels) / located.spread + jnp.log(located.spread)
        return pixels + spread, pixels
    height, width = located.heatmaps.shape[1:3]
    target = models.gaussian_targets(batch["points"], height, width, options.sigma)
    entropy = -(target * jnp.log(located.heatmaps + 1e-9)).sum((1, 2))  # [B, K]
    return pixels + options.heatmap * entropy, pixels


def _metrics(locate, info, angles, variables, batch, key):
    del key
    given, known = batch["points"].shape[1], len(info["keypoints"])
    if given != known:
        raise UserError(
            f"the data has {given} points a picture, the model finds {known}: "
            f"{', '.join(info['keypoints'])}"
        )
    outputs = locate(variables, batch["image"])
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


def _confidence(spread, info, fitted):
    """Probability that a point is within RIGHT of the picture's side of where it should be.

    The error is taken to follow Rayleigh's distribution, whose median is the spread times what
    validation found.
    """
    median = np.maximum(np.asarray(spread) * fitted.get("error_per_spread", 1.0), 1e-6)
    right = RIGHT * max(info["image"][:2])
    return 1 - 0.5 ** ((right / median) ** 2)


def _summarize(names, angles, measured):
    return metrics_keypoints.summarize(measured.rows, names, angles)


def _worst(pixels):
    """Rows by their largest error."""
    return np.argsort(-np.nan_to_num(pixels, nan=-1.0).max(1))


def _plots(names, angles, measured, fitted):
    del fitted
    rows = measured.rows
    labels = [angle.name for angle in angles]
    return {"errors": pose.error_figure(rows["pixels"], names, rows["degrees"], labels)}


def _draw(locate, names, angles, variables, batch, key, fitted):
    del key, fitted
    points = np.asarray(locate(variables, batch["image"])["points"])
    found = np.asarray(heading.angles_of(points, angles))
    truth = np.where(batch["visible"][..., None] > 0, batch["points"], np.nan)
    true_angles = np.asarray(heading.angles_of(truth, angles))
    zoom = max(1, round(FIGURE_SIDE / max(batch["image"].shape[1:3])))
    enlarge = functools.partial(pose.draw_pose, zoom=zoom)
    rows = []
    for i, image in enumerate(batch["image"]):
        rows.append(
            [
                enlarge(image, np.full_like(points[i], np.nan), ()),
                enlarge(image, truth[i], true_angles[i]),
                enlarge(image, points[i], found[i], truth=truth[i]),
            ]
        )
    return {"predictions": grid.image_grid(rows, ("picture", "truth", "found; truth as rings"))}


def _decode(names, angles, info, outputs, image, fitted):
    points, spread = np.asarray(outputs["points"]), np.asarray(outputs["spread"])
    confidence = _confidence(spread, info, fitted)
    degrees = np.asarray(heading.angles_of(points, angles))
    sure = np.asarray(heading.both_visible(confidence, angles))
    return {
        "points": {
            name: [*map(float, points[k]), float(confidence[k])] for k, name in enumerate(names)
        },
        **{f"{angle.name}_degrees": float(degrees[a]) for a, angle in enumerate(angles)},
        **{f"{angle.name}_confidence": float(sure[a]) for a, angle in enumerate(angles)},
    }


def _follower(config, info, names, angles, predict, fitted):
    confidence = functools.partial(_confidence, info=info, fitted=fitted)
    size = config.data.image_size
    return follow_animal.Model(predict, confidence, names, angles, info, size, config.predict)


def _predict_file(config, info, names, angles, predict, path, output, fitted):
    model = _follower(config, info, names, angles, predict, fitted)
    return pose_files.write_file(model, Path(path), Path(output))


def _finish(config, info, names, angles, predict, dataset, output, fitted):
    """Films what `config.film` names, else the test split, in its order."""
    model = _follower(config, info, names, angles, predict, fitted)
    options, limit = config.film, config.film.max_frames
    if options.path:
        film = follow_animal.open_film(Path(options.path).expanduser(), options.fps)
    elif "test" in dataset.splits:
        split = dataset.splits["test"]
        count = min(limit, len(split.names))
        film = follow_animal.Film(
            "the test split",
            options.fps,
            lambda: (split.read(i)["image"] for i in range(count)),
            True,
        )
        model = model._replace(image_size=0, info={**info, "crop_size": 0})
    else:
        return
    try:
        path = pose_files.write_pose_film(model, film, Path(output) / "film.mp4", limit)
        say(f"film: {path}")
    except UserError as error:  # the training itself is done
        say(f"no film: {error}")
