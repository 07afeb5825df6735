"""Class folders and fer2013.csv: splits, copies, and what is wrong with them in one line."""

import csv

import numpy as np
import pytest
from PIL import Image

from configs import fer
from jaxvision.errors import UserError
from jaxvision.input_pipeline import loader
from jaxvision.input_pipeline.readers import expressions
from jaxvision.input_pipeline.readers.expressions import fer_csv

CLASSES = ("angry", "happy", "sad")


def config_of(path, **fields):
    config = fer.get_config()
    config.data.path = str(path)
    config.data.image_size = 12
    for name, value in fields.items():
        config.data[name] = value
    return config


def picture(seed, size=(14, 12)):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, size, np.uint8))


@pytest.fixture
def folder(tmp_path):
    """20 pictures a class in train, 4 in test, all different."""
    for s, (split, count) in enumerate((("train", 20), ("test", 4))):
        for c, name in enumerate(CLASSES):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(count):
                picture(1000 * s + 100 * c + i).save(tmp_path / split / name / f"{i:03d}.png")
    return tmp_path


def test_folders_are_read_as_splits_and_classes(folder):
    dataset = expressions.load(config_of(folder))
    counts = {name: split.examples for name, split in dataset.splits.items()}
    assert counts == {"train": 54, "val": 6, "test": 12}
    assert dataset.info["classes"] == list(CLASSES)
    assert dataset.info["train_counts"] == [18, 18, 18]  # val has a tenth of each class
    row = dataset.splits["test"].read(4)
    assert dataset.splits["test"].names[4] == "test/happy/000.png" and row["label"] == 1
    expected = np.asarray(picture(1100).crop((0, 1, 12, 13)))  # the middle of the longer side
    np.testing.assert_array_equal(row["image"][..., 0], expected)
    again = expressions.load(config_of(folder))
    assert again.fingerprint == dataset.fingerprint
    assert expressions.load(config_of(folder, channels=3)).fingerprint != dataset.fingerprint


def test_a_folder_without_splits_is_split_class_by_class(folder):
    dataset = expressions.load(config_of(folder / "train", channels=3))
    counts = {name: split.examples for name, split in dataset.splits.items()}
    assert counts == {"train": 48, "val": 6, "test": 6}
    labels = [int(dataset.splits["test"].read(i)["label"]) for i in range(6)]
    assert sorted(labels) == [0, 0, 1, 1, 2, 2]
    assert dataset.splits["val"].read(0)["image"].shape == (12, 12, 3)
    # Which split a picture is in does not depend on the others' names.
    (folder / "train" / "sad" / "007.png").rename(folder / "train" / "sad" / "zzz.png")
    renamed = expressions.load(config_of(folder / "train", channels=3))
    assert len(set(dataset.splits["test"].names) - set(renamed.splits["test"].names)) <= 1


def test_copies_of_test_leave_train_and_contradictions_are_counted(folder):
    picture(1000).save(folder / "train" / "happy" / "copy.png")  # test/angry/000
    picture(5).save(folder / "train" / "sad" / "copy.png")  # train/angry/005
    dataset = expressions.load(config_of(folder))
    notes = "\n".join(dataset.notes)
    assert "dropped 1 of" in notes and "exact copies are in test" in notes
    assert "1 pictures in train are there with different labels" in notes
    assert not any("happy/copy.png" in name for name in dataset.splits["train"].names)


def test_a_class_missing_from_test_is_noted(folder):
    for path in (folder / "test" / "sad").iterdir():
        path.unlink()
    (folder / "test" / "sad").rmdir()
    notes = "\n".join(expressions.load(config_of(folder)).notes)
    assert "test holds no example of sad" in notes


def test_wrong_folders_are_named(folder, tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        expressions.load(config_of(folder / "nowhere"))
    (folder / "test" / "bored").mkdir()
    with pytest.raises(UserError, match=r"test has class bored, which train lacks"):
        expressions.load(config_of(folder))
    (folder / "test" / "bored").rmdir()
    (folder / "train" / "bored").mkdir()
    with pytest.raises(UserError, match=r"class folder .*train/bored holds no image"):
        expressions.load(config_of(folder))
    (folder / "train" / "bored").rmdir()
    with pytest.raises(UserError, match="holds 0 class folders"):
        expressions.load(config_of(folder / "train" / "sad"))


def test_a_corrupt_picture_is_skipped_and_named_and_many_are_an_error(folder):
    for i in range(60):
        picture(7000 + i).save(folder / "train" / "sad" / f"more{i}.png")
    (folder / "train" / "sad" / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    notes = "\n".join(expressions.load(config_of(folder)).notes)
    assert "skipped 1 of" in notes and "train/sad/bad.jpg: " in notes
    for i in range(3):
        (folder / "train" / "sad" / f"bad{i}.jpg").write_bytes(b"no picture")
    with pytest.raises(UserError, match="4 of .* cannot be used"):
        expressions.load(config_of(folder))


def write_csv(path, rows, header=("emotion", "pixels", "Usage")):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def csv_rows(count=140, side=48):
    rng = np.random.default_rng(0)
    usages = ["Training"] * 8 + ["PublicTest", "PrivateTest"]
    for i in range(count):
        pixels = " ".join(map(str, rng.integers(0, 256, side * side)))
        yield [i % 7, pixels, usages[i // 7 % 10]]


def test_the_csv_keeps_its_splits_and_pixels(tmp_path):
    rows = list(csv_rows())
    path = write_csv(tmp_path / "fer2013.csv", rows)
    dataset = expressions.load(config_of(path, image_size=48))
    counts = {name: split.examples for name, split in dataset.splits.items()}
    assert counts == {"train": 112, "val": 14, "test": 14}
    assert dataset.info["classes"] == list(fer_csv.CLASSES)
    first = dataset.splits["train"].read(0)
    assert first["label"] == 0 and dataset.splits["train"].names[0] == "row 1"
    np.testing.assert_array_equal(first["image"].ravel(), np.array(rows[0][1].split(), np.uint8))
    unsplit = write_csv(tmp_path / "b.csv", [r[:2] for r in rows], ("emotion", "pixels"))
    assert {n: s.examples for n, s in expressions.load(config_of(unsplit)).splits.items()} == {
        "train": 112,
        "val": 14,
        "test": 14,
    }


@pytest.mark.parametrize(
    "column, value, reason",
    [
        (1, " ".join(["7"] * 2303), "row 3: 2,303 pixels, not 2,304"),
        (1, " ".join(["7"] * 2303 + ["256"]), "row 3: a pixel is not a whole number"),
        (0, "9", "row 3: unknown label '9', not 0 to 6"),
        (0, "hapy", "row 3: unknown label 'hapy'"),
        (2, "Trainin", "row 3: unknown Usage 'Trainin'"),
    ],
)
def test_a_bad_row_is_named(tmp_path, column, value, reason):
    rows = list(csv_rows())
    rows[2][column] = value
    dataset = expressions.load(config_of(write_csv(tmp_path / "one.csv", rows)))
    assert any(reason in note for note in dataset.notes), dataset.notes
    for i in (3, 4):
        rows[i][column] = value
    with pytest.raises(UserError, match="3 of 140 examples .* cannot be used"):
        expressions.load(config_of(write_csv(tmp_path / "three.csv", rows)))


def test_a_wrong_csv_is_named(tmp_path):
    path = write_csv(tmp_path / "a.csv", [["0", "1 2 3"]], ("label", "pixels"))
    with pytest.raises(UserError, match="columns label, pixels: needed are emotion"):
        expressions.load(config_of(path))
    with pytest.raises(UserError, match="holds no row"):
        expressions.load(config_of(write_csv(tmp_path / "b.csv", [])))


def test_balanced_sampling_draws_classes_alike_and_depends_on_the_epoch_alone():
    labels = np.array([0] * 90 + [1] * 10)
    weights = (1 / np.bincount(labels)[labels]).astype(np.float32).tobytes()
    rows = loader.train_rows(0, 10, 10, 7, 100, weights)  # one epoch
    assert abs((labels[rows] == 1).sum() - 50) <= 1
    np.testing.assert_array_equal(rows[3:7], loader.train_rows(3, 4, 10, 7, 100, weights))
    other = loader.train_rows(10, 10, 10, 7, 100, weights)
    assert (rows != other).any()
    assert len(np.unique(np.concatenate([rows, other]))) > 60


def test_the_built_in_faces_are_the_same_every_time_and_differ_by_row():
    config = fer.get_config()
    config.data.synthetic_examples = dict(train=14, val=7, test=7)
    dataset, again = loader.load_dataset(config), loader.load_dataset(config)
    assert dataset.info["train_counts"] == [2] * 7
    a, b = dataset.splits["train"].read(3), again.splits["train"].read(3)
    np.testing.assert_array_equal(a["image"], b["image"])
    assert a["image"].shape == (48, 48, 1) and a["label"] == 3
    assert (dataset.splits["train"].read(10)["image"] != a["image"]).any()
    assert (dataset.splits["val"].read(3)["image"] != a["image"]).any()


def test_splits_have_several_names_and_the_rest_is_told(folder):
    (folder / "train").rename(folder / "Training")
    (folder / "test").rename(folder / "valid")
    (folder / "valid" / "sad" / "1.heic").touch()
    (folder / "valid" / "sad" / "deeper").mkdir()
    (folder / "valid" / "loose.png").touch()
    (folder / "other").mkdir()
    (folder / "other" / "1.png").touch()
    dataset = expressions.load(config_of(folder))
    counts = {name: split.examples for name, split in dataset.splits.items()}
    assert counts == {"train": 60, "val": 12}
    (note,) = [note for note in dataset.notes if "left out" in note]
    assert note.startswith("3 files left out: valid/loose.png, valid/sad/1.heic, other/ (1)")


def test_a_split_without_class_folders_is_no_class(folder):
    for place in (folder / "train").iterdir():
        place.rename(folder / place.name)
    (folder / "train").rmdir()
    (folder / "test").rename(folder / "was")
    (folder / "testing").mkdir()
    for i, path in enumerate(sorted((folder / "was").rglob("*.png"))):
        path.rename(folder / "testing" / f"{i}.png")
    with pytest.raises(UserError, match=r"testing holds 12 pictures and no class folders"):
        expressions.load(config_of(folder))


def test_links_that_loop_end(folder):
    (folder / "train" / "again").symlink_to(folder / "train")
    (folder / "train" / "self").symlink_to("self")
    dataset = expressions.load(config_of(folder))
    assert dataset.info["classes"] == list(CLASSES)
    assert any("2 files left out: train/again, train/self" in note for note in dataset.notes)


def test_sixteen_bits_need_a_range_and_a_csv_has_none(folder, tmp_path):
    for path in folder.rglob("*.png"):
        values = np.asarray(Image.open(path)).astype(np.uint16) * 16
        Image.fromarray(values).save(path)
    with pytest.raises(UserError, match=r"72 of 72 examples .* data.range=\(0, 4095\)"):
        expressions.load(config_of(folder))
    row = expressions.load(config_of(folder, range=(0, 4080))).splits["test"].read(4)
    expected = np.asarray(picture(1100).crop((0, 1, 12, 13)))
    np.testing.assert_array_equal(row["image"][..., 0], expected)
    path = write_csv(tmp_path / "a.csv", list(csv_rows()))
    with pytest.raises(UserError, match="data.range=.* the csv's are of 8"):
        expressions.load(config_of(path, range=(0, 4095)))
