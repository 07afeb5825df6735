"""Keypoint files of all kinds, splits that do not leak, and bad input named in one line."""

import numpy as np
import pytest
from PIL import Image

from configs import rat
from jaxvision.errors import UserError
from jaxvision.input_pipeline import copies, loader, views
from jaxvision.input_pipeline.readers import keypoints
from jaxvision.input_pipeline.readers.keypoints import listing
from jaxvision.input_pipeline.synthetic import keypoints as synthetic

SIDE = 32


@pytest.fixture(scope="module")
def rodents():
    """40 synthetic pictures, uint8 [40, 32, 32], and their points [40, 3, 2]."""
    pictures = [synthetic.render(1, i, SIDE) for i in range(40)]
    return np.stack([p[..., 0] for p, _ in pictures]), np.stack([points for _, points in pictures])


def config_of(path, **options):
    config = rat.get_config()
    config.data.path = str(path)
    config.data.update(options)
    return config


def save(path, images, points, /, **changes):
    arrays = {"images": images, **{f"locs_{n}": points[:, k] for k, n in enumerate(NAMES)}}
    np.savez(path, **{key: a for key, a in {**arrays, **changes}.items() if a is not None})
    return path


NAMES = ("head", "neck", "base")


def numbers(split):
    return [int(name.rsplit("_", 1)[1]) for name in split.names]


def test_an_npz_is_held_out_by_time(tmp_path, rodents):
    images, points = rodents
    arrays = {"locs_base": points[:, 2], "locs_necks": points[:, 1], "locs_head": points[:, 0]}
    np.savez(tmp_path / "rats.npz", images=images, **arrays)  # another order, another spelling
    dataset = loader.load_dataset(config_of(tmp_path / "rats.npz"))
    assert dataset.info["keypoints"] == list(NAMES)
    assert {name: numbers(split) for name, split in dataset.splits.items()} == {
        "train": list(range(27)), "val": list(range(27, 32)), "test": list(range(32, 40)),
    }  # fmt: skip
    row = dataset.splits["test"].read(3)
    assert row["image"].shape == (SIDE, SIDE, 1) and row["image"].dtype == np.uint8
    np.testing.assert_array_equal(row["image"][..., 0], images[35])
    np.testing.assert_allclose(row["points"], points[35])
    assert row["visible"].tolist() == [1, 1, 1] and row["scale"] == 1


def augmented(images, points, times, rng):
    """`times` copies of each picture, turned, mirrored, shifted and noisy."""
    many, moved = [], []
    for image, places in zip(images, points, strict=True):
        for _ in range(times):
            flip, turns, shift = rng.random() < 0.5, rng.integers(4), rng.integers(-3, 4, 2)
            picture = np.rot90(image[:, ::-1] if flip else image, turns)
            picture = np.roll(np.pad(picture, 3, mode="edge"), shift, (0, 1))[3:-3, 3:-3]
            noise = rng.normal(0, 4, picture.shape)
            many.append(np.clip(picture + noise, 0, 255).astype(np.uint8))
            centred = (places - (SIDE - 1) / 2) * [-1 if flip else 1, 1]
            for _ in range(turns):
                centred = centred[:, ::-1] * [1, -1]
            moved.append(centred + (SIDE - 1) / 2 + shift[::-1])
    return np.stack(many), np.stack(moved).clip(0, SIDE - 1)


@pytest.mark.parametrize("options", [{}, {"group_size": 4}, {"split": "random"}])
def test_copies_of_one_original_are_never_on_two_sides(tmp_path, rodents, options):
    images, points = augmented(rodents[0][:20], rodents[1][:20], 4, np.random.default_rng(0))
    path = save(tmp_path / "many.npz", images, points)
    dataset = loader.load_dataset(config_of(path, **options))
    originals = {s: {i // 4 for i in numbers(split)} for s, split in dataset.splits.items()}
    assert set.union(*originals.values()) == set(range(20))
    assert sum(map(len, originals.values())) == 20  # no original in two splits
    assert ("groups of 4" if "group_size" in options else "originals found") in dataset.source


def test_pictures_of_one_animal_that_differ_are_no_copies(shared_data):
    with np.load(shared_data / "rodents" / "rat_images_tagged.npz") as file:
        images = file["images"][48:80]
    groups = copies.group_copies(images, np.zeros((len(images), 1)))
    assert len(set(groups.tolist())) == len(images)


def write_csv(folder, rodents, count=12):
    images, points = rodents
    lines = ["file,nose_x,nose_y,left_ear_x,left_ear_y"]
    for i in range(count):
        Image.fromarray(images[i]).save(folder / f"{i:02d}.png")
        (x, y), (u, v) = points[i, :2]
        lines.append(f"{i:02d}.png,{x:.3f},{y:.3f}," + (f"{u:.3f},{v:.3f}" if i % 3 else ","))
    (folder / "points.csv").write_text("\n".join(lines) + "\n")
    return folder / "points.csv"


def test_a_csv_with_empty_cells(tmp_path, rodents):
    dataset = loader.load_dataset(config_of(write_csv(tmp_path, rodents)))
    assert dataset.info["keypoints"] == ["nose", "left_ear"]
    row = dataset.splits["train"].read(0)
    assert row["visible"].tolist() == [1, 0]
    np.testing.assert_allclose(row["points"], [rodents[1][0, 0], [0, 0]], atol=1e-3)
    assert any("4 of 24 points are empty or NaN" in note for note in dataset.notes)
    (tmp_path / "frames").mkdir()
    for picture in tmp_path.glob("*.png"):
        picture.rename(tmp_path / "frames" / picture.name)
    moved = loader.load_dataset(config_of(tmp_path))  # the folder with the csv, pictures below
    np.testing.assert_array_equal(moved.splits["train"].read(0)["image"], row["image"])


def test_pictures_are_scaled_or_cropped_with_their_points(tmp_path, rodents):
    path = write_csv(tmp_path, rodents)
    for name in ("00.png", "01.png"):
        Image.open(tmp_path / name).resize((64, 48)).save(tmp_path / name)
    with pytest.raises(UserError, match="2 sizes .32 x 32, 64 x 48.: set data.image_size"):
        loader.load_dataset(config_of(path))
    for options in ({"image_size": 16}, {"crop_size": 20}, {"crop_size": 20, "image_size": 40}):
        row = loader.load_dataset(config_of(path, **options)).splits["train"].read(2)
        side = options.get("image_size") or options["crop_size"]
        assert row["image"].shape == (side, side, 1)
        assert row["scale"] == pytest.approx(options.get("crop_size", 32) / side)
        # Bright where the nose is bright in the file: the same place.
        x, y = row["points"][0].round().astype(int)
        u, v = rodents[1][2, 0].round().astype(int)
        assert abs(int(row["image"][y, x, 0]) - int(rodents[0][2, v, u])) < 60


def test_views_lead_back_to_the_picture():
    image = np.arange(30 * 40, dtype=np.uint32).reshape(30, 40, 1).astype(np.uint8)
    view = views.around(3, 27, 16, 16)  # reaches over two edges
    window = views.cut(image, view)
    points = np.array([[7.0, 8.0], [3.0, 1.0]])
    for (x, y), (u, v) in zip(points, view.to_picture(points), strict=True):
        u, v = np.clip([u, v], 0, [39, 29]).astype(int)
        assert window[int(y), int(x), 0] == image[v, u, 0]
    scaled = views.around(20, 15, 12, 48)
    np.testing.assert_allclose(scaled.to_input(scaled.to_picture(points)), points)
    assert scaled.to_picture(np.array([23.5, 23.5])) == pytest.approx(
        [20.5 - 0.5, 15.5 - 0.5], abs=1
    )


def deeplabcut_project(folder, rodents, index="path"):
    """A project of two videos, 8 frames each, one point missing."""
    images, points = rodents
    for v, video in enumerate(("mouse1", "mouse2")):
        frames = folder / "labeled-data" / video
        frames.mkdir(parents=True)
        lines = [["scorer", *["me"] * 4], ["bodyparts", "snout", "snout", "tailbase", "tailbase"],
                 ["coords", "x", "y", "x", "y"]]  # fmt: skip
        if index == "columns":
            lines = [[line[0], "", "", *line[1:]] for line in lines]
        for i in range(8):
            Image.fromarray(images[8 * v + i]).save(frames / f"img{i:03d}.png")
            path = ["labeled-data", video, f"img{i:03d}.png"]
            cells = [f"{value:.4f}" for value in points[8 * v + i][[0, 2]].ravel()]
            cells = ["", "", *cells[2:]] if i == 5 else cells
            lines.append([*(path if index == "columns" else ["/".join(path)]), *cells])
        text = "\n".join(",".join(line) for line in lines) + "\n"
        (frames / "CollectedData_me.csv").write_text(text)
    return folder


@pytest.mark.parametrize("index", ["path", "columns"])
def test_a_deeplabcut_project(tmp_path, rodents, index):
    found = listing.list_labelled(deeplabcut_project(tmp_path, rodents, index))
    assert list(found.keypoints) == ["snout", "tailbase"] and len(found.names) == 16
    assert found.names[9] == "mouse2/img001.png"
    np.testing.assert_allclose(found.points[9], rodents[1][9][[0, 2]], atol=1e-3)
    assert np.isnan(found.points[5, 0]).all() and np.isfinite(found.points[5, 1]).all()
    np.testing.assert_array_equal(found.read(9)[..., 0], rodents[0][9])
    one = listing.list_labelled(tmp_path / "labeled-data" / "mouse2" / "CollectedData_me.csv")
    assert list(one.names) == list(found.names[8:])


def test_a_deeplabcut_h5_is_read_without_pickle(tmp_path, rodents):
    h5py = pytest.importorskip("h5py")
    project = deeplabcut_project(tmp_path, rodents)
    wanted = listing.list_labelled(project)
    for v, table in enumerate(sorted(project.glob("labeled-data/*/*.csv"))):
        # As pandas' to_hdf lays it out, for the path split in three levels.
        with h5py.File(table.with_suffix(".h5"), "w") as file:
            group = file.create_group("df_with_missing")
            group["block0_values"] = wanted.points[8 * v : 8 * v + 8].reshape(8, 4).astype(float)
            levels = {"axis0": (["me"], ["snout", "tailbase"], ["x", "y"]),
                      "axis1": (["labeled-data"], [table.parent.name],
                                [f"img{i:03d}.png" for i in range(8)])}  # fmt: skip
            labels = {"axis0": ([0] * 4, [0, 0, 1, 1], [0, 1, 0, 1]),
                      "axis1": ([0] * 8, [0] * 8, range(8))}  # fmt: skip
            for axis in levels:
                for n, names in enumerate(levels[axis]):
                    group[f"{axis}_level{n}"] = np.array(names, "S")
                    group[f"{axis}_label{n}"] = np.array(labels[axis][n], np.int8)
        table.unlink()
    found = listing.list_labelled(project)
    assert list(found.names) == list(wanted.names)
    np.testing.assert_allclose(found.points, wanted.points, atol=1e-5)


def test_bad_npz_files_are_named(tmp_path, rodents):
    images, points = rodents
    far, nan = points.copy(), points.copy()
    far[3, 0] = (70.0, 5.0)
    nan[:5, 1] = np.nan
    objects = np.array([{"x": 1}, None], object)
    for changes, message in (
        (
            {"images": None, "pictures": images},
            r"has no array 'images'; it holds locs_head \[40, 2\]",
        ),
        ({f"locs_{n}": None for n in NAMES}, r"holds no points, .* it holds images \[40, 32, 32\]"),
        ({"locs_neck": objects}, "locs_neck is an array of pickled objects, which is refused"),
        ({"images": images.astype(float)}, r"images is float64 \[40, 32, 32\]; uint8"),
        ({"locs_neck": points[:7, 1]}, r"locs_neck is float32 \[7, 2\]; numbers \[40, 2\]"),
        ({"locs_head": far[:, 0]}, r"bad_00003: head at \(70, 5\) lies outside .* 32 x 32"),
    ):
        path = save(tmp_path / "bad.npz", images, points, **changes)
        with pytest.raises(UserError, match=message):
            loader.load_dataset(config_of(path))
    dataset = loader.load_dataset(config_of(save(tmp_path / "nan.npz", images, nan)))
    assert any("5 of 120 points are empty or NaN, taken as not visible: neck 5" in n
               for n in dataset.notes)  # fmt: skip
    (tmp_path / "text.npz").write_text("no npz")
    with pytest.raises(UserError, match="cannot read .*text.npz as npz"):
        loader.load_dataset(config_of(tmp_path / "text.npz"))


def test_other_bad_input_is_named(tmp_path, rodents):
    with pytest.raises(UserError, match="missing.npz does not exist; give an npz, a csv or"):
        loader.load_dataset(config_of(tmp_path / "missing.npz"))
    with pytest.raises(UserError, match="holds 0 csv files; name the csv or npz itself"):
        loader.load_dataset(config_of(tmp_path))
    path = write_csv(tmp_path, rodents)
    text = path.read_text()
    for change, message in (
        (("file,", "picture,"), "has no column 'file' in its first row; found: picture, nose_x"),
        (("_x", "_u"), "has no columns <point>_x and <point>_y"),
        (("03.png", "02.png"), "names 02.png twice"),
        (("03.png", "none.png"), "none.png: no such file"),
    ):
        path.write_text(text.replace(*change))
        with pytest.raises(UserError, match=message):
            loader.load_dataset(config_of(path))
    for options, message in (
        ({"group_size": 12}, "1 groups of pictures cannot be split into train, val, test"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            loader.load_dataset(config_of(path, **options))


def test_built_in_points_lie_on_the_animal():
    for i in range(8):
        image, points = synthetic.render(0, i, 50)
        np.testing.assert_array_equal(image, synthetic.render(0, i, 50)[0])
        row = keypoints.row_of(image, points, "dark")
        # The blob needs no network: its middle is on the animal, its axis along it.
        assert np.linalg.norm(row["blob"][:2] - points.mean(0)) < 9
        body = points[0] - points[2]
        assert abs(np.dot(row["blob"][2:], body / np.linalg.norm(body))) > 0.6


def test_points_and_animal_are_part_of_the_data(tmp_path, rodents):
    images, points = rodents
    path = save(tmp_path / "a.npz", images, points)
    first = loader.load_dataset(config_of(path)).fingerprint
    assert loader.load_dataset(config_of(path)).fingerprint == first
    assert loader.load_dataset(config_of(path, animal="light")).fingerprint != first
    moved = points.copy()
    moved[3, 0, 0] += 1e-4  # less than their text shows
    save(path, images, moved)
    assert loader.load_dataset(config_of(path)).fingerprint != first


def test_damaged_groups_are_found_anew(tmp_path, rodents, cache_folder):
    path = save(tmp_path / "a.npz", *rodents)
    first = loader.load_dataset(config_of(path))
    (store,) = (cache_folder / "copies").iterdir()
    for damage in (b"", b"[1, 2", store.read_bytes()[:-3]):
        store.write_bytes(damage)
        assert loader.load_dataset(config_of(path)).fingerprint == first.fingerprint


def test_groups_without_a_cache(tmp_path, rodents, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("JAXVISION_CACHE", str(tmp_path / "file"))
    assert loader.load_dataset(config_of(save(tmp_path / "a.npz", *rodents))).splits


def test_folders_are_splits_and_the_rest_is_told(tmp_path, rodents):
    path = write_csv(tmp_path, rodents)
    text = path.read_text().splitlines()
    path.write_text("\n".join([f"id,{text[0]}", *(f"{i},{t}" for i, t in enumerate(text[1:]))]))
    for i in range(12):
        folder = tmp_path / ("train", "Valid", "testing")[i // 4]
        folder.mkdir(exist_ok=True)
        (tmp_path / f"{i:02d}.png").rename(folder / f"{i:02d}.png")
    Image.fromarray(rodents[0][20]).save(tmp_path / "train" / "more.png")
    dataset = loader.load_dataset(config_of(path))
    assert {s: split.examples for s, split in dataset.splits.items()} == {
        "train": 4, "val": 4, "test": 4,
    }  # fmt: skip
    notes = " | ".join(dataset.notes)
    assert "points of points.csv: nose, left_ear; columns not used: id" in notes
    assert "1 files left out: train/more.png" in notes
    (tmp_path / "train" / "00.png").rename(tmp_path / "00.png")
    with pytest.raises(UserError, match="1 of 12 pictures lie in no folder of a split, 00.png"):
        loader.load_dataset(config_of(path))
