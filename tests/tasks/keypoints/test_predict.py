"""A tiny run on built-in rodents, and predict mode with it on crops, pictures and films."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from configs import rat
from jaxvision import evaluate, predict, train
from jaxvision.errors import UserError
from jaxvision.input_pipeline.blob import blob_in_crop
from jaxvision.input_pipeline.synthetic import keypoints as synthetic
from jaxvision.input_pipeline.video import read_video
from jaxvision.tasks.keypoints import smoothing, tracks
from jaxvision.visualize.film import write_film

SIDE = 24
FAST = dict(batch_size=8, film=False)


def tiny():
    config = rat.get_config()
    config.batch_size = 8
    config.data.image_size = SIDE
    config.data.synthetic_examples = dict(train=16, val=4, test=6)
    config.model.widths = (4, 4, 4)
    config.train.steps = 4
    config.eval.every_epochs = 1.0
    config.eval.batch_size = 4
    config.eval.figure_rows = 3
    config.predict.batch_size = 8
    return config


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """Trained for four steps: what it finds is poor, but all of it is there."""
    folder = tmp_path_factory.mktemp("rat")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXVISION_CACHE", str(folder / "cache"))
        train.train(tiny(), str(folder / "run"))
    return folder / "run"


def run(workdir, source, output, **options):
    config = tiny()
    config.data.image_size = options.pop("image_size", SIDE)
    config.predict.update(options)
    predict.predict_files(config, str(workdir), str(source), str(output))
    return [json.loads(line) for line in (output / "predictions.jsonl").read_text().splitlines()]


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def test_a_run_leaves_metrics_figures_and_a_film(workdir):
    values = json.loads((workdir / "evaluation.json").read_text())["metrics"]
    for name in ("mean_pixel_error", "median_pixel_error", "pck_1", "pck_2", "pck_3",
                 "mean_pixel_error_head", "heading_error_degrees", "heading_error_degrees_p90",
                 "head_direction_error_degrees", "mean_position_mean_pixel_error",
                 "image_moments_heading_error_degrees"):  # fmt: skip
        assert np.isfinite(values[name]), name
    figures = {path.name for path in (workdir / "figures").iterdir()}
    assert {"predictions_4.png", "errors_4.png", "learning_curves_4.png", "film.mp4"} <= figures
    assert any(name.startswith("worst_") for name in figures)
    fps, frames = read_video(workdir / "figures" / "film.mp4")
    assert fps == 30 and len(list(frames)) == 6


def crops(tmp_path, count=11, side=SIDE, name="crops.npz"):
    images = np.stack([synthetic.render(3, i, side)[0][..., 0] for i in range(count)])
    np.savez(tmp_path / name, images=images)
    return tmp_path / name


def test_an_npz_of_crops_gives_tables_and_a_film(tmp_path, workdir):
    h5py = pytest.importorskip("h5py")
    source = crops(tmp_path)
    record = run(workdir, source, tmp_path / "out", h5=True, fps=25.0)[0]
    assert record["frames"] == 11 and record["fps"] == 25
    header, *rows = rows_of(record["csv"])
    assert header == ["frame", *(f"{p}_{w}" for p in ("head", "neck", "base")
                                 for w in ("x", "y", "confidence")),
                      "heading_degrees", "heading_confidence",
                      "head_direction_degrees", "head_direction_confidence"]  # fmt: skip
    values = np.array(rows, float)
    assert len(values) == 11 and (values[:, 0] == np.arange(11)).all()
    neck, base = values[:, 4:6], values[:, 7:9]
    turned = np.degrees(np.arctan2(base[:, 1] - neck[:, 1], neck[:, 0] - base[:, 0]))
    np.testing.assert_allclose((turned - values[:, 10] + 180) % 360, 180, atol=0.5)
    assert len(list(read_video(record["film"])[1])) == 11
    with h5py.File(record["h5"]) as file:
        assert file["tracks"].shape == (1, 2, 3, 11)
        np.testing.assert_allclose(file["tracks"][0, :, 1].T, neck, atol=1e-3)
        assert [name.decode() for name in file["node_names"]] == ["head", "neck", "base"]


def test_deeplabcut_layout(tmp_path, workdir):
    source = crops(tmp_path, 3)
    record = run(workdir, source, tmp_path / "out", layout="deeplabcut", **FAST)[0]
    rows = rows_of(record["csv"])
    assert rows[0] == ["scorer", *["jaxvision"] * 9]
    assert rows[1][:5] == ["bodyparts", "head", "head", "head", "neck"]
    assert rows[2][:4] == ["coords", "x", "y", "likelihood"]
    assert len(rows) == 6 and rows[3][0] == "0" and all(map(float, rows[3][1:]))


def test_a_film_of_another_size_is_named(tmp_path, workdir):
    with pytest.raises(UserError, match="1 of 1 files could not be read"):
        run(workdir, crops(tmp_path, 3, 40), tmp_path / "out", image_size=0, **FAST)
    record = json.loads((tmp_path / "out" / "predictions.jsonl").read_text())
    assert "pictures of 40 x 40 pixels, but the model was trained on 24 x 24" in record["error"]


def scene(x, y, height=120, width=200):
    """A dark animal of some 30 pixels at (x, y) on a bright floor with a dark wall."""
    picture = Image.new("L", (width, height), 180)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, width, 14), 60)
    draw.ellipse((x - 15, y - 6, x + 15, y + 6), 20)
    draw.line((x - 15, y, x - 34, y + 5), 40, 2)
    return np.repeat(np.asarray(picture)[..., None], 3, 2)


def test_in_a_full_size_film_the_window_follows_the_animal(tmp_path, workdir):
    places = [(30 + 4 * i, 30 + 2 * i) for i in range(36)]
    write_film(tmp_path / "arena.mp4", (scene(x, y) for x, y in places), 20)
    record = run(workdir, tmp_path / "arena.mp4", tmp_path / "out", image_size=0, film=True)[0]
    rows = rows_of(record["csv"])
    columns = {name: np.array(cells, float) for name, *cells in zip(*rows, strict=True)}
    # The net learned next to nothing, but its window is on the animal, in the film's own pixels.
    for name, middle in (("x", 0), ("y", 1)):
        found = np.mean([columns[f"{part}_{name}"] for part in ("head", "neck", "base")], 0)
        assert np.abs(found - np.array(places)[:, middle]).max() < 25
    assert record["fps"] == 20 and record["frames"] == 36
    frame = next(read_video(record["film"])[1])
    assert frame.shape[0] >= 120 and frame.shape[1] > 200  # the whole frame, and the trace


def test_an_empty_scene_is_named(tmp_path, workdir):
    write_film(tmp_path / "empty.mp4", [np.full((90, 90, 3), 150, np.uint8)] * 8, 20)
    with pytest.raises(UserError, match="could not be read"):
        run(workdir, tmp_path / "empty.mp4", tmp_path / "out", image_size=0, **FAST)
    record = json.loads((tmp_path / "out" / "predictions.jsonl").read_text())
    assert "no dark animal stands out" in record["error"]


def test_a_folder_of_pictures_gives_one_table(tmp_path, workdir):
    folder = tmp_path / "frames"
    folder.mkdir()
    for i in range(3):
        Image.fromarray(synthetic.render(3, i, SIDE)[0][..., 0]).save(folder / f"f{i}.png")
    records = run(workdir, folder, tmp_path / "out")
    rows = rows_of(tmp_path / "out" / "points.csv")
    assert rows[0][0] == "file" and [row[0] for row in rows[1:]] == ["f0.png", "f1.png", "f2.png"]
    assert float(rows[2][1]) == pytest.approx(records[1]["points"]["head"][0], abs=1e-3)
    assert Path(records[0]["picture"]).exists()


def test_other_points_than_the_models_are_named(tmp_path, workdir):
    images = np.stack([synthetic.render(3, i, SIDE)[0][..., 0] for i in range(9)])
    np.savez(
        tmp_path / "two.npz", images=images, locs_head=np.ones((9, 2)), locs_paw=np.ones((9, 2))
    )
    config = tiny()
    config.data.path = str(tmp_path / "two.npz")
    with pytest.raises(UserError, match="2 points a picture, the model finds 3: head, neck, base"):
        evaluate.evaluate_workdir(config, str(workdir), "test")


def test_a_blob_is_its_ellipse_without_wall_and_tail():
    found = blob_in_crop(scene(110, 65)[5:, 40:180], "dark")
    assert (found.x, found.y) == pytest.approx((70, 60), abs=1.5)
    assert abs(found.axis[0]) > 0.99 and found.length == pytest.approx(30, abs=4)


@pytest.mark.parametrize("method", ["one_euro", "kalman"])
def test_smoothing_takes_noise_away_and_follows_motion(method):
    rng, times = np.random.default_rng(0), np.arange(150) / 30
    path = np.stack([40 * times, 20 * np.sin(times)], 1)[:, None]  # [T, 1, 2] pixels
    noisy = path + rng.normal(0, 1, path.shape)
    noisy[40] = np.nan
    smooth = smoothing.smooth(noisy, method, 30.0, 1.0)
    assert np.isnan(smooth[40]).all() and np.isfinite(smooth[41]).all()
    known = np.isfinite(noisy[:, 0, 0])
    jitter = [np.nanstd(np.diff(track[known], 2, axis=0)) for track in (noisy, smooth)]
    assert jitter[1] < 0.6 * jitter[0]
    error = np.sqrt(np.nanmean((smooth - path)[10:] ** 2))
    assert error < (1.6 if method == "one_euro" else 0.6)  # it sees the past alone, so it lags
    np.testing.assert_array_equal(smoothing.smooth(noisy, "", 30.0, 1.0), noisy)


def test_unwritable_tables_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    empty = tracks.Tracks((), (), *(np.zeros((1, 0, 2)[:n]) for n in (3, 2, 2, 2)))
    with pytest.raises(UserError, match="cannot write"):
        tracks.write_csv(tmp_path / "file" / "table.csv", empty, "plain")
