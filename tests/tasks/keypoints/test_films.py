"""Films: read once and in order, followed at full size, and written as tables and films."""

import csv

import numpy as np
import pytest

from jaxvision.errors import UserError
from jaxvision.input_pipeline import video
from jaxvision.input_pipeline.synthetic import keypoints as synthetic
from jaxvision.input_pipeline.video import read_video
from jaxvision.tasks.keypoints import figures, films, tracks
from jaxvision.visualize.film import write_film
from tests.tasks.keypoints.bound import SIDE, answer, bind, tiny
from tests.tasks.keypoints.test_predictor import scene


def run(source, output, image_size=SIDE, **options):
    config = tiny(**options)
    config.data.image_size = image_size
    task, apply = bind(config)
    return task.predictor.stream(apply, source, output, {})


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def crops(tmp_path, count=11, side=SIDE, save=np.savez):
    images = np.stack([synthetic.render(3, i, side)[0][..., 0] for i in range(count)])
    save(tmp_path / "crops.npz", other=np.arange(3), images=images)
    return tmp_path / "crops.npz"


@pytest.mark.parametrize("smoothing", ["", "kalman"])
def test_an_npz_of_crops_gives_tables_and_a_film(tmp_path, smoothing):
    h5py = pytest.importorskip("h5py")
    record = run(crops(tmp_path), tmp_path / "out", h5=True, fps=25.0, smoothing=smoothing)
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


def test_a_film_and_its_single_pictures_agree(tmp_path):
    source = crops(tmp_path)
    task, apply = bind(tiny(film=False))
    record = task.predictor.stream(apply, source, tmp_path / "out", {})
    values = np.array(rows_of(record["csv"])[1:], float)
    for i in (0, 7, 10):
        picture = np.repeat(np.load(source)["images"][i][..., None], 3, 2)
        points = answer(task, apply, picture).record["points"]
        flat = [value for name in ("head", "neck", "base") for value in points[name]]
        np.testing.assert_allclose(values[i, 1:10], flat, atol=2e-3)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_is_read_picture_by_picture(tmp_path, save):
    images = np.load(crops(tmp_path, save=save))["images"]
    film = films.open_film(tmp_path / "crops.npz", 30)
    np.testing.assert_array_equal(np.stack(list(film.frames()))[..., 0], images)
    some = film.samples(4, lambda frame: frame[..., 0])
    np.testing.assert_array_equal(some, images[[0, 3, 6, 10]])


def test_an_npz_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "text.npz").write_text("no zip")
    with pytest.raises(UserError, match=r"cannot read .*text.npz as npz: .*not a zip"):
        films.open_film(tmp_path / "text.npz", 30)
    with pytest.raises(UserError, match=r"no.npz as npz: No such file"):
        films.open_film(tmp_path / "no.npz", 30)
    np.savez(tmp_path / "wrong.npz", images=np.zeros((3, 4, 4), np.float32))
    with pytest.raises(UserError, match=r"images is float32 \[3, 4, 4\]; uint8"):
        films.open_film(tmp_path / "wrong.npz", 30)
    np.savez(tmp_path / "objects.npz", images=np.array([{}, {}]))
    with pytest.raises(UserError, match="images is object"):
        films.open_film(tmp_path / "objects.npz", 30)


def test_deeplabcut_layout(tmp_path):
    record = run(crops(tmp_path, 3), tmp_path / "out", layout="deeplabcut", film=False)
    rows = rows_of(record["csv"])
    assert rows[0] == ["scorer", *["jaxvision"] * 9]
    assert rows[1][:5] == ["bodyparts", "head", "head", "head", "neck"]
    assert rows[2][:4] == ["coords", "x", "y", "likelihood"]
    assert len(rows) == 6 and rows[3][0] == "0" and all(map(float, rows[3][1:]))


def test_a_film_of_another_size_is_named(tmp_path):
    message = "pictures of 40 x 40 pixels, but the model was trained on 24 x 24"
    with pytest.raises(UserError, match=message):
        run(crops(tmp_path, 3, 40), tmp_path / "out", image_size=0, film=False)


def arena(tmp_path, count=36):
    places = [(30 + 4 * i % 140, 30 + 2 * i % 70) for i in range(count)]
    write_film(tmp_path / "arena.mp4", (scene(x, y) for x, y in places), 20)
    return tmp_path / "arena.mp4", np.array(places)


@pytest.mark.parametrize("smoothing", ["", "one_euro"])
def test_in_a_full_size_film_the_window_follows_the_animal(tmp_path, smoothing):
    path, places = arena(tmp_path)
    record = run(path, tmp_path / "out", image_size=0, film=True, smoothing=smoothing)
    rows = rows_of(record["csv"])
    columns = {name: np.array(cells, float) for name, *cells in zip(*rows, strict=True)}
    # The net learned next to nothing, but its window is on the animal, in the film's own pixels.
    for name, middle in (("x", 0), ("y", 1)):
        centre = np.mean([columns[f"{part}_{name}"] for part in ("head", "neck", "base")], 0)
        assert np.abs(centre - places[:, middle]).max() < 25
    assert record["fps"] == 20 and record["frames"] == 36
    frame = next(read_video(record["film"])[1])
    assert frame.shape[0] >= 120 and frame.shape[1] > 200  # the whole frame, and the trace


def test_a_film_is_decoded_once_and_frames_do_not_pile_up(tmp_path, monkeypatch):
    path, _ = arena(tmp_path, 150)
    read, drawn, ahead = [], [], []
    original, draw = video._frames, figures.draw_frame

    def counted(*args):
        for frame in original(*args):
            read.append(1)
            yield frame

    monkeypatch.setattr(video, "_frames", counted)

    def counted_draw(*args):
        drawn.append(1)
        ahead.append(len(read) - len(drawn))
        return draw(*args)

    monkeypatch.setattr(figures, "draw_frame", counted_draw)
    record = run(path, tmp_path / "out", image_size=0, film=True, batch_size=8)
    assert record["frames"] == len(drawn) == 150
    assert len(read) == 151  # and the first one, for its size
    assert max(ahead) <= 3 * 8


def test_an_empty_scene_is_named(tmp_path):
    write_film(tmp_path / "empty.mp4", [np.full((90, 90, 3), 150, np.uint8)] * 8, 20)
    with pytest.raises(UserError, match="empty.mp4: no dark animal stands out from the scene"):
        run(tmp_path / "empty.mp4", tmp_path / "out", image_size=0, film=False)
    assert not (tmp_path / "out").exists()


def test_pictures_become_files_and_one_table(tmp_path):
    task, apply = bind(tiny())
    records = []
    for i in range(3):
        picture = synthetic.render(3, i, SIDE)[0].repeat(3, 2)
        prediction = answer(task, apply, picture)
        path = tmp_path / f"f{i}.png"
        assert not task.predictor.streams(path)
        written = task.predictor.write(picture, prediction, path, tmp_path / "out")
        records.append({"file": str(path), **prediction.record, **written})
        assert (tmp_path / "out" / f"f{i}.png").exists() and written["picture"].endswith("png")
    task.predictor.collect(records, tmp_path / "out")
    rows = rows_of(tmp_path / "out" / "points.csv")
    assert rows[0][0] == "file" and [row[0] for row in rows[1:]] == ["f0.png", "f1.png", "f2.png"]
    assert float(rows[2][1]) == pytest.approx(records[1]["points"]["head"][0], abs=1e-3)
    assert task.predictor.streams(tmp_path / "a.MP4") and task.predictor.streams("b.npz")


def test_unwritable_tables_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    empty = tracks.Tracks((), (), *(np.zeros((1, 0, 2)[:n]) for n in (3, 2, 2, 2)))
    with pytest.raises(UserError, match="cannot write"):
        tracks.write_csv(tmp_path / "file" / "table.csv", empty, "plain")


def numbered(count):
    """Frames whose gray level tells their number."""
    return (np.full((32, 48, 3), 2 * (i % 120), np.uint8) for i in range(count))


@pytest.mark.parametrize("name, few", [("a.mp4", True), ("a.mkv", True), ("raw.mpg", False)])
def test_samples_are_spread_over_a_film_without_decoding_all_of_it(tmp_path, name, few):
    av = pytest.importorskip("av")
    kind = {} if few else {"format": "h264"}  # without index and duration
    with av.open(str(tmp_path / name), "w", **kind) as container:
        stream = container.add_stream("h264", rate=25, options={"g": "10", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for frame in numbered(120):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    levels = video.sample_frames(tmp_path / name, 6, lambda frame: float(frame.mean()) / 2)
    assert len(levels) == 6 if few else 6 <= len(levels) < 12
    assert levels == sorted(levels) and levels[0] < 25 and levels[-1] > 90
    assert np.diff(levels).max() < 35
    everything = video.sample_frames(tmp_path / name, 200, lambda frame: 1)
    assert len(everything) == 120


def test_samples_of_what_is_no_film_are_named(tmp_path):
    (tmp_path / "text.mp4").write_text("not a film")
    with pytest.raises(UserError, match="text.mp4: invalid data"):
        video.sample_frames(tmp_path / "text.mp4", 3, lambda frame: frame)
