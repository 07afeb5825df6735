"""Points of other data are matched by name, whatever their order."""

import csv

import jax
import numpy as np
import pytest
from PIL import Image

from jaxvision.errors import UserError
from jaxvision.input_pipeline.readers import keypoints as reader
from jaxvision.input_pipeline.synthetic import keypoints as synthetic
from jaxvision.tasks import keypoints
from tests.tasks.keypoints.bound import SIDE, bind, dataset, tiny, variables


def labelled_csv(folder, columns):
    """A csv of ten rodents with the points `columns` ({name in the csv: true name or None})."""
    folder.mkdir()
    with open(folder / "points.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", *(f"{name}_{axis}" for name in columns for axis in "xy")])
        for i in range(10):
            image, points = synthetic.render(5, i, SIDE)[:2]
            Image.fromarray(image[..., 0]).save(folder / f"{i}.png")
            known = dict(zip(synthetic.KEYPOINTS, points, strict=True))
            cells = [known.get(true, (3, 4)) for true in columns.values()]
            writer.writerow([f"{i}.png", *np.ravel(cells)])
    config = tiny()
    config.data.path = str(folder / "points.csv")
    return reader.load(config)


def judge(task, data):
    batches = [data.splits["test"].read(i) for i in range(len(data.splits["test"].names))]
    batch = {name: np.stack([row[name] for row in batches]) for name in batches[0]}
    batch["valid"] = np.ones(len(batches), np.float32)
    measured = jax.jit(task.model.metrics)(variables(), batch, jax.random.key(0))
    return task.report.metrics(jax.tree.map(np.asarray, measured), {})


def test_points_in_another_order_give_the_same_metrics(tmp_path):
    task, _ = bind(tiny())
    same = {name: name for name in ("head", "neck", "base")}
    turned = {name: name for name in ("base", "head", "neck")}
    straight = labelled_csv(tmp_path / "a", same)
    other = labelled_csv(tmp_path / "b", turned)
    assert task.report.adapt(straight) is straight
    adapted = task.report.adapt(other)
    assert adapted.fingerprint != other.fingerprint and list(adapted.notes) == list(other.notes)
    assert judge(task, adapted) == judge(task, straight)
    assert judge(task, other) != judge(task, straight)  # in silence, were they not matched


def test_points_that_are_missing_or_extra_are_told_and_not_judged(tmp_path):
    task, _ = bind(tiny())
    data = labelled_csv(tmp_path / "a", {"paw": None, "neck": "neck", "head": "head"})
    whole = labelled_csv(tmp_path / "b", {n: n for n in ("head", "neck", "base")})
    adapted = task.report.adapt(data)
    assert any("does not have are not judged: base" in note for note in adapted.notes)
    assert any("does not know are left out: paw" in note for note in adapted.notes)
    values, all_values = judge(task, adapted), judge(task, whole)
    assert np.isnan(values["mean_pixel_error_base"]) and np.isnan(values["heading_error_degrees"])
    for name in ("mean_pixel_error_head", "median_pixel_error_neck",
                 "head_direction_error_degrees"):  # fmt: skip
        assert values[name] == all_values[name]
    assert np.isfinite(values["loss"])


def test_data_that_does_not_fit_is_named(tmp_path):
    task, _ = bind(tiny())
    data = labelled_csv(tmp_path / "a", {"Head": "head", "paw": None})
    with pytest.raises(UserError, match="its points are Head, paw, the model locates head, neck"):
        task.report.adapt(data)
    colour = dataset()._replace(info={**dataset().info, "image": [SIDE, SIDE, 3]})
    with pytest.raises(UserError, match="3 channels, the model was trained on 1: set data.color"):
        task.report.adapt(colour)
    config = tiny()
    config.model.name, config.model.widths = "coordinate", (4, 4)
    larger = dataset()._replace(info={**dataset().info, "image": [40, 50, 1]})
    with pytest.raises(UserError, match="50 x 40 pixels, but the coordinate net takes 24 x 24"):
        keypoints.make_report(config, dataset().info).adapt(larger)
    assert task.report.adapt(larger) is larger  # the heatmap net takes any size


def test_a_report_needs_no_flax_and_figures_are_pictures(tmp_path):
    task, _ = bind(tiny())
    rows = [dataset().splits["test"].read(i) for i in range(4)]
    batch = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    drawn = task.report.draw(variables(), batch, jax.random.key(0), {})
    assert drawn["predictions"].dtype == np.uint8 and drawn["predictions"].shape[2] == 3
    outputs = task.model.predict(variables(), batch["image"])
    measured = jax.tree.map(np.asarray, task.report.measure(outputs, batch))
    figures = task.report.figures(measured, {})
    assert figures["errors"].shape[2] == 3
    worst = task.report.highlights(measured, {})["worst"]
    errors = np.nanmax(measured.rows["pixels"], 1)
    assert list(worst) == list(np.argsort(-errors))


def test_training_ends_with_a_film_of_the_test_split(tmp_path):
    from jaxvision.input_pipeline.video import read_video

    config = tiny()
    config.film.max_frames = 4
    task, apply = bind(config)
    task.report.finish(apply, dataset(), tmp_path, {})
    fps, frames = read_video(tmp_path / "film.mp4")
    assert fps == 30 and len(list(frames)) == 4
