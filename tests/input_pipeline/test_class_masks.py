"""Mask files of several classes become numbers of classes, or are refused."""

import numpy as np
import pytest
from PIL import Image

from jaxvision.errors import UserError
from jaxvision.input_pipeline import class_masks
from jaxvision.input_pipeline.class_masks import Coding

CLASSES = ("background", "building", "water")
CODING = Coding(CLASSES)
NUMBERS = np.random.default_rng(0).choice(np.uint8([0, 1, 2, 255]), (20, 30))
PALETTE = np.uint8([[9, 9, 9], [200, 0, 0], [0, 0, 200]])
COLOURED = Coding(CLASSES, (0x090909, 0xC80000, 0x0000C8, 0xFFFFFF))


def saved(path, image, **options):
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(path, **options)
    return path


def with_palette(numbers):
    image = Image.fromarray(numbers)
    image.putpalette(painted(np.arange(256, dtype=np.uint8)).tobytes())
    return image


def painted(numbers):
    colours = np.full((256, 3), 255, np.uint8)
    colours[:3] = PALETTE
    return colours[numbers]


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize(
    "image",
    [
        NUMBERS,
        NUMBERS.astype(np.uint16),
        with_palette(NUMBERS),
        np.dstack([NUMBERS] * 3),
        np.dstack([*[NUMBERS] * 3, np.full_like(NUMBERS, 255)]),
    ],
    ids=["gray", "deep", "palette", "gray in colours", "opaque"],
)
def test_numbers_of_classes_in_every_form(tmp_path, name, image):
    decoded = class_masks.decode_mask(saved(tmp_path / name, image), CODING)
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, NUMBERS)


def test_floats_are_numbers_where_they_are_whole(tmp_path):
    path = saved(tmp_path / "a.tif", NUMBERS.astype(np.float32))
    np.testing.assert_array_equal(class_masks.decode_mask(path, CODING), NUMBERS)
    odd = np.where(NUMBERS == 2, 1.5, NUMBERS).astype(np.float32)
    with pytest.raises(UserError, match=r"with value 1\.5 "):
        class_masks.decode_mask(saved(tmp_path / "a.tif", odd), CODING)


@pytest.mark.parametrize("image", [painted(NUMBERS), with_palette(NUMBERS % 255)])
def test_colours_of_classes(tmp_path, image):
    truth = NUMBERS if isinstance(image, np.ndarray) else NUMBERS % 255
    decoded = class_masks.decode_mask(saved(tmp_path / "a.png", image), COLOURED)
    np.testing.assert_array_equal(decoded, truth)


def test_a_mask_is_turned_as_its_picture_was(tmp_path):
    path = saved(tmp_path / "a.png", NUMBERS)
    np.testing.assert_array_equal(class_masks.decode_mask(path, CODING, 6), np.rot90(NUMBERS, -1))


@pytest.mark.parametrize(
    "coding, image, name, words",
    [
        (CODING, np.where(NUMBERS == 2, 7, NUMBERS), "a.png", ["value 7 (", "values are 0 to 2"]),
        (CODING, NUMBERS.astype(np.uint16) * 300, "a.png", ["which is no class"]),
        (CODING, painted(NUMBERS), "a.png", ["in colours (#", "data.class_colors"]),
        (CODING, NUMBERS % 3, "a.jpg", ["as JPEG", "save it as PNG"]),
        (COLOURED, painted(NUMBERS) // 2, "a.png", ["with colour #", "none of data.class_colors"]),
        (CODING, np.dstack([NUMBERS] * 4), "a.png", ["whose transparency varies"]),
    ],
)
def test_what_is_no_class_is_refused_with_file_and_value(tmp_path, coding, image, name, words):
    path = saved(tmp_path / name, image.astype(np.uint16 if image.max() > 255 else np.uint8))
    with pytest.raises(UserError) as raised:
        class_masks.decode_mask(path, coding)
    message = str(raised.value)
    assert message.startswith(str(path)) and "\n" not in message
    for word in words:
        assert word in message
