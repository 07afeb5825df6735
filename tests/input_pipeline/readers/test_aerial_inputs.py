"""Aerial images: what is found, turned, scaled, told and refused."""

import os

import numpy as np
import pytest
from PIL import Image

from jaxvision.errors import UserError
from jaxvision.input_pipeline.readers import aerial
from tests.input_pipeline.readers.test_aerial import add, config, fails, fill, pixels


def notes_of(path, **data):
    settings = config(path)
    vars(settings.data).update(data)
    return aerial.load(settings).notes


def test_splits_are_found_under_all_their_names(tmp_path):
    for split, first in (("Train", 0), ("valid", 20), ("testing", 30)):
        fill(tmp_path, 5, split, first)
    dataset = aerial.load(config(tmp_path))
    counts = {split: part.examples for split, part in dataset.splits.items()}
    assert counts == {"train": 5, "val": 5, "test": 5}
    (tmp_path / "val").mkdir()
    fails(tmp_path, "val/ and valid/, which are both val")


def test_what_is_not_read_is_counted_and_named(tmp_path):
    fill(tmp_path, 5, "train")
    for name in ("x.txt", "train/images/a.heic", "train/masks/old/1.png", "extra/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    os.symlink(tmp_path, tmp_path / "train" / "images" / "loop")
    (note, *_) = notes_of(tmp_path)
    assert note.startswith("5 files left out: ")
    for name in ("x.txt", "train/images/a.heic", "train/masks/old/ (1)", "extra/ (1)", "loop"):
        assert name in note


def test_empty_masks_are_counted_and_named(tmp_path):
    fill(tmp_path, 4, "train")
    Image.fromarray(np.zeros((12, 10), np.uint8)).save(tmp_path / "train" / "masks" / "002.png")
    note = "1 of 4 masks are empty, no object in them: train/masks/002.png"
    assert note in notes_of(tmp_path)


@pytest.mark.parametrize("turn", ["image as shown", "image as stored", "both"])
def test_a_mask_lies_on_its_turned_image(tmp_path, turn):
    image, mask = add(tmp_path, "a", 0, split="test")
    exif = Image.Exif()
    exif[0x0112] = 8
    stored, drawn = np.rot90(image, -1).copy(), mask
    if turn != "image as shown":  # drawn by a program that looks at no EXIF
        drawn = np.rot90(mask, -1).copy()
    Image.fromarray(stored).save(tmp_path / "test" / "images" / "a.png", exif=exif)
    Image.fromarray(drawn * 255).save(
        tmp_path / "test" / "masks" / "a.png", exif=exif if turn == "both" else None
    )
    dataset = aerial.load(config(tmp_path))
    row = dataset.splits["test"].read(0)
    assert (row["image"][:, :10] == image).all() and (row["mask"][:, :10] == mask).all()
    told = [note for note in dataset.notes if "turned as their images are" in note]
    assert len(told) == (turn == "image as stored")


@pytest.mark.parametrize(("orientation", "size"), [(3, (12, 10)), (6, (12, 12)), (2, (12, 10))])
def test_a_mask_that_may_lie_either_way_is_refused(tmp_path, orientation, size):
    image, _ = add(tmp_path, "a", 0, size=size, split="test")
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(image).save(tmp_path / "test" / "images" / "a.png", exif=exif)
    fails(tmp_path, f"a.png: it has EXIF orientation {orientation} and its mask 1", "save both")


def test_a_mask_changed_behind_the_same_size_and_time_is_read_again(tmp_path):
    fill(tmp_path, 3, "test")
    path = tmp_path / "test" / "masks" / "001.bmp"
    (tmp_path / "test" / "masks" / "001.png").unlink()

    def write(mask):
        Image.fromarray(mask * 255).save(path)
        os.utime(path, ns=(10**18, 10**18))
        return aerial.load(config(tmp_path))

    mask = pixels(1)[1]
    first, second = write(mask), write(1 - mask)
    assert first.fingerprint != second.fingerprint
    assert (second.splits["test"].read(1)["mask"][:, :10] == 1 - mask).all()


def test_moved_data_is_the_same_data(tmp_path):
    first = aerial.load(config(fill(tmp_path / "a", 4)))
    (tmp_path / "a").rename(tmp_path / "b")
    assert aerial.load(config(tmp_path / "b")).fingerprint == first.fingerprint


def test_a_stated_range_scales_deep_pictures_and_is_refused_for_others(tmp_path):
    image, _ = add(tmp_path, "a", 0, split="test")
    deep = (image[..., 0] / 255 * 4095).round().astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "test" / "images" / "a.png")
    fails(tmp_path, "a.png: 16-bit pixels of at most", "data.range=(0, 4095)")
    settings = config(tmp_path)
    settings.data.range = (0, 4095)
    row = aerial.load(settings).splits["test"].read(0)
    assert (row["image"][:, :10] == image[..., :1]).all()
    add(tmp_path, "b", 1, split="test")
    assert "1 of 2 pictures have 8 bits: data.range does not change them" in notes_of(
        tmp_path, range=(0, 4095)
    )
    (tmp_path / "test" / "images" / "a.png").unlink()
    (tmp_path / "test" / "masks" / "a.png").unlink()
    for value, words in (
        ((0, 4095), "all 1 here have 8: leave it out"),
        ((9, 1), r"\(low, high\)"),
    ):
        settings.data.range = value
        with pytest.raises(UserError, match=words):
            aerial.load(settings)
