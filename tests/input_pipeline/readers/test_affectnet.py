"""AffectNet in each form that people have, on a made-up copy: what is read, left out, told."""

import csv

import numpy as np
import pytest
from PIL import Image

from configs import fer
from jaxvision.errors import UserError
from jaxvision.input_pipeline import loader
from jaxvision.input_pipeline.readers.expressions import affectnet

NAMES = list(affectnet.CLASSES)


def config_of(path, **fields):
    config = fer.get_config()
    config.data.path = str(path)
    config.data.image_size = 12
    config.update_from_flattened_dict({f"data.{name}": value for name, value in fields.items()})
    return config


def save(path, seed, size=(12, 12)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.mark.parametrize(
    "train, val, name",
    [
        ("train_class", "val_class", "class{:03d}"),
        ("train", "val", "{}"),
        ("train", "test", "{}"),
    ],
)
def test_folders_of_eight_classes_are_named(tmp_path, train, val, name):
    first = 1 if "class" in name else 0
    for s, (split, count) in enumerate(((train, 5), (val, 2))):
        for number in range(8):
            for i in range(count):
                path = tmp_path / split / name.format(number + first) / f"image{i:07d}.png"
                save(path, 1000 * s + 100 * number + i)
    (tmp_path / train / "list.txt").write_text("no picture")
    dataset = loader.load_dataset(config_of(tmp_path))
    assert dataset.info["classes"] == NAMES
    judged = "val" if val.startswith("val") else "test"
    assert dataset.splits[judged].examples == 16
    labels = [int(dataset.splits[judged].read(i)["label"]) for i in range(16)]
    assert labels == sorted(2 * list(range(8)))
    notes = "\n".join(dataset.notes)
    assert f"AffectNet's numbers: {name.format(first)} is neutral" in notes
    assert "1 files left out: " in notes and "list.txt" in notes


def test_seven_numbered_folders_stay_as_they_are(tmp_path):
    """They may be FER2013's, which counts in another order."""
    for number in range(7):
        for i in range(4):
            save(tmp_path / str(number) / f"{i}.png", 10 * number + i)
    assert loader.load_dataset(config_of(tmp_path)).info["classes"] == list("0123456")


def write_list(path, rows, header=True):
    path.parent.mkdir(exist_ok=True)
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([affectnet.COLUMNS] * header + rows)


def line(name, number, box=(3, 4, 12, 12)):
    return [name, *box, "1.5;2.5;3.5", number, "0.1", "-0.2"]


@pytest.fixture
def listed(tmp_path):
    """Lists as distributed: a header in training.csv, none in validation.csv; pixels by name."""
    images, pixels = tmp_path / "Manually_Annotated_Images", {}
    rows = {"training": [], "validation": []}
    for s, (split, count) in enumerate((("training", 5), ("validation", 2))):
        for number in range(8):
            for i in range(count):
                name = f"{number + 1}/{split}{i}.png"
                pixels[name] = save(images / name, 1000 * s + 100 * number + i, (20, 24))
                rows[split].append(line(name, number))
        for number in (8, 9, 9, 10):
            name = f"9/{split}{number}{len(rows[split])}.png"
            rows[split].append(line(name, number, ("NULL",) * 4))
    lists = tmp_path / "Manually_Annotated_file_lists"
    write_list(lists / "training.csv", rows["training"])
    write_list(lists / "validation.csv", rows["validation"], header=False)
    return tmp_path, rows, pixels


def test_lists_are_read_and_faces_are_cut_out(listed):
    root, _, pixels = listed
    dataset = loader.load_dataset(config_of(root))
    assert {name: split.examples for name, split in dataset.splits.items()} == {
        "train": 40,
        "val": 16,
    }
    assert dataset.info["classes"] == NAMES
    assert "left out 8 of 64 rows: 2 none of the eight, 4 uncertain, 2 no face" in dataset.notes
    val = dataset.splits["val"]
    row = val.names.index("Manually_Annotated_Images/5/validation1.png")
    read = val.read(row)
    assert NAMES[read["label"]] == "fear"
    np.testing.assert_array_equal(read["image"][..., 0], pixels["5/validation1.png"][4:16, 3:15])
    assert val.sizes[row] == 12
    alone = loader.load_dataset(
        config_of(root / "Manually_Annotated_file_lists" / "validation.csv")
    )
    assert sum(split.examples for split in alone.splits.values()) == 16


def test_a_box_is_part_of_what_a_row_is(listed):
    root, rows, _ = listed
    before = loader.load_dataset(config_of(root))
    rows["training"][0][1:5] = [-2, 4, 12, 99]  # beyond two borders: cut at them
    write_list(root / "Manually_Annotated_file_lists" / "training.csv", rows["training"])
    after = loader.load_dataset(config_of(root))
    assert after.fingerprint != before.fingerprint
    train = after.splits["train"]
    assert train.sizes[train.names.index("Manually_Annotated_Images/1/training0.png")] == 10


@pytest.mark.parametrize(
    "change, message",
    [
        ({1: 30}, r"the face at \(30, 4, 12, 12\) lies outside the picture of 24 x 20"),
        ({2: "NULL"}, "training.csv row 2: the face 3, NULL, 12, 12 is no box of numbers"),
        ({6: 11}, "training.csv row 2: expression '11' is not 0 to 10"),
        ({6: "sad"}, "training.csv row 2: expression 'sad' is not 0 to 10"),
        ({0: "1/gone.png"}, "1/gone.png: "),
    ],
)
def test_a_row_that_cannot_be_used_is_named(listed, change, message):
    root, rows, _ = listed
    for column, value in change.items():
        rows["training"][0][column] = value
    write_list(root / "Manually_Annotated_file_lists" / "training.csv", rows["training"])
    with pytest.raises(UserError, match=message) as raised:
        loader.load_dataset(config_of(root))
    assert "1 of 56 examples" in str(raised.value) and "\n" not in str(raised.value)


def test_pictures_that_are_elsewhere_are_told(listed):
    root, _, _ = listed
    (root / "Manually_Annotated_Images").rename(root.parent / f"{root.name}_elsewhere")
    with pytest.raises(UserError, match=r"names 1/training0.png, which is not in .*: put Manually"):
        loader.load_dataset(config_of(root))


@pytest.fixture
def arrays(tmp_path):
    """As distributed since 2021: a picture and its numbers side by side, as text."""
    for s, (split, count) in enumerate((("train_set", 5), ("val_set", 2))):
        (tmp_path / split / "annotations").mkdir(parents=True)
        for number in range(9):
            for i in range(count):
                name = f"{100 * number + i}"
                save(tmp_path / split / "images" / f"{name}.jpg", 1000 * s + 100 * number + i)
                file = tmp_path / split / "annotations" / f"{name}_exp.npy"
                np.save(file, np.array(str(number) if i % 2 else number))
                np.save(file.with_name(f"{name}_val.npy"), np.array("0.25"))
    return tmp_path


def test_arrays_are_read(arrays):
    dataset = loader.load_dataset(config_of(arrays))
    assert {name: split.examples for name, split in dataset.splits.items()} == {
        "train": 40,
        "val": 16,
    }
    assert dataset.info["classes"] == NAMES
    assert "left out 7 of 63 rows: 7 none of the eight" in dataset.notes
    val = dataset.splits["val"]
    assert NAMES[val.read(val.names.index("val_set/images/701.jpg"))["label"]] == "contempt"


@pytest.mark.parametrize(
    "write, message",
    [
        (lambda file: file.unlink(), "101.jpg: there is no .*101_exp.npy"),
        (lambda file: np.save(file, np.array("x")), "101_exp.npy: expression 'x' is not 0 to 10"),
        (lambda file: np.save(file, np.arange(3)), "101_exp.npy: can only convert an array of"),
        (lambda file: file.write_bytes(b"no array"), "101_exp.npy: "),
    ],
)
def test_an_array_that_cannot_be_used_is_named(arrays, write, message):
    write(arrays / "train_set" / "annotations" / "101_exp.npy")
    with pytest.raises(UserError, match=message) as raised:
        loader.load_dataset(config_of(arrays))
    assert "1 of 56 examples" in str(raised.value) and "\n" not in str(raised.value)
