"""Masks of every kind become background and object, or are refused."""

import numpy as np
import pytest
from PIL import Image

from jaxvision.errors import UserError
from jaxvision.input_pipeline import images
from tests.input_pipeline.test_images import BLOCK, COLOUR, saved


@pytest.mark.parametrize(
    "stored",
    [
        BLOCK,
        BLOCK * 255,
        BLOCK * 7,
        BLOCK.astype(bool),
        BLOCK.astype(np.uint16),
        BLOCK.astype(np.uint16) * 65535,
        BLOCK.astype(np.int32) * 255,
        np.dstack([BLOCK * 255] * 3),
        np.dstack([BLOCK * 128, BLOCK * 0, BLOCK * 0]),
        np.dstack([BLOCK * 255, BLOCK * 255, BLOCK * 255, np.full_like(BLOCK, 255)]),
    ],
)
@pytest.mark.parametrize("name", ["mask.png", "mask.tif"])
def test_two_valued_masks(tmp_path, stored, name):
    if stored.dtype == np.int32 and name == "mask.png":
        stored = stored.astype(np.uint16)  # PNG holds no more
    decoded = images.decode_mask(saved(tmp_path / name, stored))
    assert decoded.dtype == np.uint8 and (decoded == BLOCK).all()


def test_palette_masks(tmp_path):
    for number, palette in enumerate(([0, 0, 0, 128, 0, 0], [68, 1, 84, 253, 231, 37])):
        image = Image.frombytes("P", (64, 64), BLOCK.tobytes())
        image.putpalette(palette)
        image.save(tmp_path / f"{number}.png")
        assert (images.decode_mask(tmp_path / f"{number}.png") == BLOCK).all()


def test_masks_of_one_value(tmp_path):
    assert not images.decode_mask(saved(tmp_path / "a.png", BLOCK * 0)).any()
    assert images.decode_mask(saved(tmp_path / "b.png", BLOCK * 0 + 255)).all()


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("name", ["mask.jpg", "mask.webp"])
def test_lossy_masks_are_thresholded(tmp_path, mode, name):
    path = saved(tmp_path / name, BLOCK * 255, mode=mode, quality=60)
    assert len(np.unique(np.asarray(Image.open(path).convert("L")))) > 2
    assert (images.decode_mask(path) == BLOCK).mean() > 0.99


def test_resized_mask_is_thresholded(tmp_path):
    large = Image.fromarray(BLOCK * 255).resize((400, 400), Image.Resampling.BICUBIC)
    large.save(tmp_path / "a.png")
    assert images.decode_mask(tmp_path / "a.png").mean() == pytest.approx(BLOCK.mean(), rel=0.02)


@pytest.mark.parametrize("scale", [1, 50])
@pytest.mark.parametrize("name", ["mask.png", "mask.jpg"])
def test_mask_of_classes_is_an_error(tmp_path, scale, name):
    classes = np.repeat(np.arange(6, dtype=np.uint8), 16)[:, None] * np.ones(96, np.uint8)
    path = saved(tmp_path / name, classes * scale, **({"quality": 95} if "jpg" in name else {}))
    with pytest.raises(UserError, match=r"mask\.\w+: a mask of \d+ values \(0, ") as raised:
        images.decode_mask(path)
    assert "\n" not in str(raised.value)
    if name == "mask.png" and scale == 1:
        assert "6 values (0, 1, 2, 3, 4, 5)" in str(raised.value)


def test_colour_picture_is_no_mask(tmp_path):
    big = np.kron(COLOUR, np.ones((8, 8, 1), np.uint8))
    for name in ("mask.png", "mask.jpg"):
        with pytest.raises(UserError, match="a mask of"):
            images.decode_mask(saved(tmp_path / name, big))
    with pytest.raises(UserError, match="2 values"):
        images.decode_mask(saved(tmp_path / "b.png", BLOCK + 1))


@pytest.mark.parametrize("colour", [0, 255, (10, 20, 30)])
@pytest.mark.parametrize("name", ["mask.png", "mask.tif", "mask.webp"])
def test_a_mask_in_alpha_is_read(tmp_path, name, colour):
    pixels = np.dstack([np.full((64, 64, 3), colour, np.uint8), BLOCK * 255])
    options = dict(lossless=True, exact=True) if name.endswith("webp") else {}
    assert (images.decode_mask(saved(tmp_path / name, pixels, **options)) == BLOCK).all()
    if np.ndim(colour) == 0 and name == "mask.png":
        gray = np.dstack([pixels[..., 0], BLOCK * 255])
        assert (images.decode_mask(saved(tmp_path / name, gray)) == BLOCK).all()


def test_a_mask_in_the_alpha_of_a_palette_is_read(tmp_path):
    image = Image.frombytes("P", (64, 64), BLOCK.tobytes())
    image.putpalette([9, 9, 9, 9, 9, 9])
    image.save(tmp_path / "mask.png", transparency=bytes([0, 255]))
    assert (images.decode_mask(tmp_path / "mask.png") == BLOCK).all()


def test_a_cut_out_object_is_a_mask_and_a_cut_out_picture_is_none(tmp_path):
    both = np.dstack([BLOCK * 200, BLOCK * 10, BLOCK * 10, BLOCK * 255])
    assert (images.decode_mask(saved(tmp_path / "a.png", both)) == BLOCK).all()
    both[..., 3] = (1 - BLOCK) * 255
    with pytest.raises(UserError, match="colours and alpha channel vary, and not alike"):
        images.decode_mask(saved(tmp_path / "b.png", both))
    big = np.kron(np.resize(COLOUR, (8, 8, 3)), np.ones((8, 8, 1), np.uint8))
    with pytest.raises(UserError, match="colours and alpha channel vary"):
        images.decode_mask(saved(tmp_path / "c.png", np.dstack([big, BLOCK * 255])))


def test_deep_masks_where_white_is_zero(tmp_path):
    path = saved(tmp_path / "a.tif", 65535 - BLOCK.astype(np.uint16) * 65535, tiffinfo={262: 0})
    assert Image.open(path).tag_v2[262] == 0
    assert (images.decode_mask(path) == BLOCK).all()
