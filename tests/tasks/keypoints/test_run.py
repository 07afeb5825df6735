"""A tiny run on built-in rodents from the command's functions, and predict mode with it."""

import json

import numpy as np
import pytest

from jaxvision import evaluate, predict, train
from jaxvision.errors import UserError
from jaxvision.input_pipeline.synthetic import keypoints as synthetic
from jaxvision.input_pipeline.video import read_video
from tests.tasks.keypoints.bound import SIDE, tiny


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """Trained for four steps: what it finds is poor, but all of it is there."""
    folder = tmp_path_factory.mktemp("rat")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXVISION_CACHE", str(folder / "cache"))
        train.train(tiny(), str(folder / "run"))
    return folder / "run"


def test_a_run_leaves_metrics_figures_and_a_film(workdir):
    values = json.loads((workdir / "evaluation.json").read_text())["metrics"]
    for name in ("mean_pixel_error", "median_pixel_error", "pck_1", "pck_2", "pck_3",
                 "mean_pixel_error_head", "heading_error_degrees", "heading_error_degrees_p90",
                 "head_direction_error_degrees", "mean_position_mean_pixel_error",
                 "image_moments_heading_error_degrees", "loss"):  # fmt: skip
        assert np.isfinite(values[name]), name
    figures = {path.name for path in (workdir / "figures").iterdir()}
    assert {"predictions_4.png", "errors_4.png", "learning_curves_4.png", "film.mp4"} <= figures
    assert any(name.startswith("worst_") for name in figures)
    fps, frames = read_video(workdir / "figures" / "film.mp4")
    assert fps == 30 and len(list(frames)) == 6


def test_predict_mode_takes_pictures_and_films_together(tmp_path, workdir):
    from PIL import Image

    source = tmp_path / "in"
    source.mkdir()
    images = np.stack([synthetic.render(3, i, SIDE)[0][..., 0] for i in range(5)])
    np.savez(source / "crops.npz", images=images)
    Image.fromarray(images[0]).save(source / "one.png")
    output = tmp_path / "out"
    predict.predict_files(tiny(film=False), str(workdir), str(source), str(output))
    lines = (output / "predictions.jsonl").read_text().splitlines()
    film, picture = map(json.loads, lines)
    assert film["frames"] == 5 and set(picture["points"]) == {"head", "neck", "base"}
    assert {"file", "picture", "degrees", "degrees_confidence"} <= set(picture)
    for name in ("crops.csv", "one.png", "points.csv"):
        assert (output / name).exists()


def test_points_of_other_names_are_named(tmp_path, workdir):
    images = np.stack([synthetic.render(3, i, SIDE)[0][..., 0] for i in range(9)])
    np.savez(
        tmp_path / "two.npz", images=images, locs_ear=np.ones((9, 2)), locs_paw=np.ones((9, 2))
    )
    config = tiny()
    config.data.path = str(tmp_path / "two.npz")
    with pytest.raises(UserError, match="its points are ear, paw, the model locates head, neck"):
        evaluate.evaluate_workdir(config, str(workdir), "test")
