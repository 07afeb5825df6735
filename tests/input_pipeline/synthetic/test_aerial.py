"""The built-in aerial scenes: one scene for the same arguments, and a mask of visible roof only."""

import pickle
import random

import ml_collections
import numpy as np
import pytest
from PIL import Image, ImageDraw

from jaxvision.input_pipeline.synthetic import aerial, aerial_parts, aerial_roofs


def make_config(**examples):
    config = ml_collections.ConfigDict({"seed": 3, "data": {"image_size": 64}})
    config.data.synthetic_examples = {"train": 6, "val": 2, "test": 3, **examples}
    return config


def make_canvas(size=64):
    """An empty canvas under a sun 45 degrees high in the -x direction; also its three layers."""
    side = size * aerial_parts.SUPERSAMPLE
    layers = [Image.new(mode, (side, side)) for mode in ("CMYK", "L", "L")]
    sun = aerial_parts.Sun((-(0.5**0.5), 0.0, 0.5**0.5), (1.0, 0.0))
    draws = map(ImageDraw.Draw, layers)
    return aerial_parts.Canvas(random.Random(0), sun, size, *draws, roofs=[], trees=[]), layers


@pytest.fixture(scope="module")
def scenes():
    images, masks = zip(*(aerial.render(0, i, 128) for i in range(50)), strict=True)
    return np.stack(images), np.stack(masks)


def test_scene_depends_on_its_arguments_alone():
    image, mask = aerial.render(1, 2, 96)
    aerial.render(1, 3, 96)
    again, mask_again = aerial.render(1, 2, 96)
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(mask, mask_again)
    for other in (aerial.render(1, 3, 96), aerial.render(2, 2, 96)):
        assert (other[0] != image).mean() > 0.5
        assert (other[1] != mask).any()


@pytest.mark.parametrize("size", [32, 75, 128])
def test_shapes_and_values(size):
    image, mask = aerial.render(0, 0, size)
    assert image.shape == (size, size, 3) and image.dtype == np.uint8
    assert mask.shape == (size, size) and mask.dtype == np.uint8
    assert set(np.unique(mask)) <= {0, 1}


def test_building_share(scenes):
    share = scenes[1].mean((1, 2))
    assert 0.15 < share.mean() < 0.32
    assert share.max() < 0.6
    assert (share > 0.02).mean() >= 0.95


def test_brightness_does_not_give_the_mask_away(scenes):
    gray, mask = scenes[0].mean(-1), scenes[1] == 1
    guesses = [g for t in range(10, 250, 10) for g in (gray > t, gray < t)]
    assert max((g & mask).sum() / (g | mask).sum() for g in guesses) < 0.4


def test_mask_is_the_roof_without_its_shadow():
    canvas, (_, shade, mask) = make_canvas()
    faces = aerial_roofs.gable(20, 12, 10, 0.5, 0)
    pose = aerial_parts.Pose(30, 32, 0.0)
    canvas.roofs.append(aerial_roofs.Roof(pose, faces, (150, 90, 70), [], []))
    aerial_roofs.draw_roofs(canvas)
    roof = np.asarray(mask.reduce(2)) >= 128
    assert roof[27:38, 21:39].all() and roof.sum() <= 21 * 13
    dark = np.asarray(shade.reduce(2)) > 128
    assert not (dark & roof).any()
    # The wall at x = 40, 10 to 13 high, casts a shadow as long under a sun 45 degrees high.
    assert dark[32, 42:52].all() and not dark[32, 54:].any() and not dark[:, :19].any()


def test_crown_hides_the_roof_below_it_and_its_shadow_does_not():
    canvas, (color, _, mask) = make_canvas()
    pose = aerial_parts.Pose(32, 32, 0.0)
    aerial_roofs.flat_roof(canvas, pose, [[-20, -10, 20, 10]], 8, (130, 130, 130))
    aerial_roofs.draw_roofs(canvas)
    before = np.asarray(mask).copy()
    canvas.trees.append((9.0, 32.0, 6.0))  # Its stem is just outside, its crown over the roof.
    aerial_parts.draw_trees(canvas, mask, (70, 84, 50))
    hidden = before != np.asarray(mask)
    crown = np.asarray(color)[..., 3] == aerial_parts.FOLIAGE
    assert hidden.any()
    np.testing.assert_array_equal(hidden, crown & (before == 255))


def test_no_tree_grows_inside_a_building():
    canvas, (_, _, mask) = make_canvas()
    aerial_roofs.flat_roof(
        canvas, aerial_parts.Pose(32, 32, 0.3), [[-20, -20, 20, 20]], 8, (9, 9, 9)
    )
    aerial_roofs.draw_roofs(canvas)
    before = np.asarray(mask).copy()
    canvas.trees.append((32.0, 32.0, 6.0))
    aerial_parts.draw_trees(canvas, mask, (70, 84, 50))
    np.testing.assert_array_equal(before, np.asarray(mask))


def test_roof_face_towards_the_sun_is_the_brightest():
    canvas, _ = make_canvas()
    facing_y = aerial_roofs.gable(20, 12, 10, 0.5, 1.0)
    light = [aerial_roofs.lit(f, aerial_parts.Pose(0, 0, 0.0), canvas.sun) for f in facing_y]
    front, back, right, left = light
    assert front == pytest.approx(back)
    assert left > 1 > front > right  # The sun is at -x; a horizontal face is 1.


def test_splits_never_share_a_scene():
    data = aerial.load(make_config())
    assert {name: len(split.names) for name, split in data.splits.items()} == {
        "train": 6,
        "val": 2,
        "test": 3,
    }
    names = [name for split in data.splits.values() for name in split.names]
    assert len(set(names)) == len(names)
    images = [s.read(i)["image"].tobytes() for s in data.splits.values() for i in range(s.examples)]
    assert len(set(images)) == len(images)


def test_more_training_scenes_leave_the_test_scenes_as_they_were():
    few, many = aerial.load(make_config()), aerial.load(make_config(train=60))
    assert few.splits["test"].names == many.splits["test"].names
    assert few.fingerprint != many.fingerprint
    assert few.fingerprint == aerial.load(make_config()).fingerprint
    assert "val" not in aerial.load(make_config(val=0)).splits


def test_read_is_picklable_and_follows_the_seed():
    split = aerial.load(make_config()).splits["train"]
    row = pickle.loads(pickle.dumps(split.read))(4)
    assert set(row) == {"image", "mask"}
    np.testing.assert_array_equal(row["image"], split.read(4)["image"])
    other = make_config()
    other.seed = 4
    assert (aerial.load(other).splits["train"].read(4)["image"] != row["image"]).any()
