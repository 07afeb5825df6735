"""Several classes of masks: files, outlines, and other data's classes by their names."""

import pickle

import numpy as np
import pytest
from PIL import Image

from jaxvision.errors import UserError
from jaxvision.input_pipeline.readers import aerial
from jaxvision.input_pipeline.relabel import match_masks
from tests.input_pipeline.readers.test_aerial import config
from tests.input_pipeline.readers.test_aerial_outlines import (
    HOLE,
    SIDE,
    SQUARE,
    annotation,
    feature,
    flat,
    picture,
    write_coco,
    write_geojson,
)

CLASSES = ("background", "building", "water")


def load(path, classes=CLASSES, colours=(), **options):
    asked = config(path, classes=classes, **options)
    asked.data.class_colors = colours
    return aerial.load(asked)


def expected(square=1, hole=2):
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[3:8, 2:9] = square
    mask[4:6, 4:6] = hole
    return mask


def add(root, name, mask, seed=0):
    picture(root / f"images/{name}.png", seed)
    (root / "masks").mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(root / f"masks/{name}.png")


def test_files_of_numbers_cut_into_tiles(tmp_path):
    for i, split in enumerate(("train", "val", "test")):
        add(tmp_path / split, "a", np.roll(expected(), i, axis=1), i)
    mask = expected()
    mask[0, :3] = 255
    add(tmp_path / "train", "b", mask, 9)
    dataset = load(tmp_path, image_size=12)
    assert dataset.info == {"tile_size": 12, "classes": list(CLASSES)}
    split = pickle.loads(pickle.dumps(dataset.splits["train"]))
    assert split.names[4] == "b_0_0" and len(split.names) == 8
    tile = split.read(4)["mask"]
    np.testing.assert_array_equal(tile, mask[:12, :12])
    assert (split.read(7)["mask"][4:] == aerial.IGNORE).all()  # beyond the picture
    assert dataset.notes == []
    other = load(tmp_path, ("background", "water", "building"), image_size=12)
    assert other.fingerprint != dataset.fingerprint
    with_more = load(tmp_path, (*CLASSES, "road"))
    assert "no pixel of val is road" in with_more.notes


def test_files_of_colours(tmp_path):
    colours = np.uint8([[0, 0, 0], [255, 0, 0], [0, 0, 255]])
    add(tmp_path / "train", "a", colours[expected()])
    dataset = load(tmp_path, colours=("#000000", "#FF0000", "#0000ff"))
    np.testing.assert_array_equal(dataset.splits["train"].read(0)["mask"], expected())
    assert dataset.info["class_colors"] == ["#000000", "#ff0000", "#0000ff"]


def test_masks_of_0_and_255_are_no_masks_of_classes(tmp_path):
    add(tmp_path / "train", "a", expected(255, 255))
    with pytest.raises(UserError, match="hold 0 and 255 alone.*leave data.classes out"):
        load(tmp_path, CLASSES[:2])


def test_a_value_that_is_no_class_is_named(tmp_path):
    add(tmp_path / "train", "a", expected(hole=9))
    with pytest.raises(UserError, match=r"train/masks/a.png: a mask with value 9 \(4 such pixels"):
        load(tmp_path)


def test_coco_categories_are_drawn_by_name(tmp_path):
    picture(tmp_path / "images/a.png")
    own = [
        annotation([flat(SQUARE)], category=3),
        annotation([flat([[11, 0], [14, 0], [14, 2], [11, 2]])], category=1),
        annotation([flat([[11, 8], [14, 8], [14, 9], [11, 9]])], category=2),
    ]
    write_coco(tmp_path / "a.json", own, categories=("water", "car", "building"))
    dataset = load(tmp_path)
    truth = expected(hole=1)
    truth[0:2, 11:14] = 2
    np.testing.assert_array_equal(dataset.splits["train"].read(0)["mask"], truth)
    assert "1 objects in" in "".join(dataset.notes) and "car (1)" in "".join(dataset.notes)
    with pytest.raises(UserError, match="outlines of 'water', and the first of data.classes"):
        load(tmp_path, ("water", "building"))
    with pytest.raises(UserError, match="data.classes names 'road'; there are: "):
        load(tmp_path, (*CLASSES, "road"))


def test_geojson_features_are_drawn_by_their_property(tmp_path):
    picture(tmp_path / "train/images/a.png")
    ring = [SQUARE, HOLE]
    features = [feature(ring, kind="Polygon", use="building"), feature([HOLE], use="water")]
    write_geojson(tmp_path / "train/masks/a.geojson", features)
    dataset = load(tmp_path, class_property="use")
    np.testing.assert_array_equal(dataset.splits["train"].read(0)["mask"], expected())


def test_other_data_are_matched_by_the_names_of_their_classes(tmp_path):
    mask = expected()
    mask[0, 0] = 255
    add(tmp_path / "test", "a", mask)
    dataset = load(tmp_path, ("background", "water", "building"))
    matched = match_masks(dataset, ("building", "road", "background", "water"))
    truth = np.uint8([2, 3, 0])[np.where(mask == 255, 0, mask)]
    truth[0, 0] = 255
    np.testing.assert_array_equal(matched.splits["test"].read(0)["mask"], truth)
    assert "no class road, which the model knows" in matched.notes
    with pytest.raises(UserError, match="has class water, which the model does not know"):
        match_masks(dataset, ("background", "building"))
