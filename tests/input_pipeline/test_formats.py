"""One picture stored in every way gives one result, or one line that says why not."""

import contextlib
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import png
import pytest
from PIL import Image

from jaxvision.errors import UserError
from jaxvision.input_pipeline import images
from jaxvision.input_pipeline.windows import open_rows

Y, X = np.mgrid[:40, :56]
COLOUR = np.stack([X * 255 // 55, Y * 255 // 39, (X + Y) * 255 // 94], -1).astype(np.uint8)
GRAY = COLOUR[..., 0]
GRAY_3 = np.repeat(GRAY[..., None], 3, axis=2)
WIDE, TWELVE = COLOUR.astype(np.uint16) * 257, (COLOUR / 255 * 4095).round().astype(np.uint16)
NIR = 255 - GRAY


def pillow(path, pixels, mode=None, **options):
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **options)


def png16(path, values, bits=16, sbit=None):
    """A PNG of 16 bits; `bits` scales as the standard asks, `sbit` only declares."""
    channels = values.shape[2] if values.ndim == 3 else 1
    writer = png.Writer(
        values.shape[1],
        len(values),
        greyscale=channels < 3,
        alpha=channels in (2, 4),
        bitdepth=bits,
    )
    with open(path, "wb") as file:
        writer.write(file, values.reshape(len(values), -1))
    if sbit:
        chunk = b"sBIT" + bytes([sbit] * channels)
        whole = struct.pack(">I", channels) + chunk + struct.pack(">I", zlib.crc32(chunk))
        content = path.read_bytes()
        path.write_bytes(content[:33] + whole + content[33:])


def geotiff(path, values, colours=None, names=None, **options):
    rasterio = pytest.importorskip("rasterio", reason="GeoTIFFs are written with rasterio")
    values = values[..., None] if values.ndim == 2 else values
    height, width, count = values.shape
    size = dict(width=width, height=height, count=count, dtype=values.dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path, "w", driver="GTiff", **size, **options) as file:
            file.write(values.transpose(2, 0, 1))
            if colours:
                file.colorinterp = [rasterio.enums.ColorInterp[name] for name in colours]
            if names:
                file.descriptions = names


def read(path, value_range=()):
    """The picture by every way there is; they agree."""
    whole = images.decode_image(path, value_range)
    np.testing.assert_array_equal(images.decode_bytes(path.read_bytes(), 10**4, value_range), whole)
    with warnings.catch_warnings(), open_rows(Path(path), value_range) as rows:
        warnings.simplefilter("ignore")
        parts = [rows.read(0, 9), rows.read(9, rows.height)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    square = images.decode_square(path, whole.shape[0], value_range)
    np.testing.assert_array_equal(square, whole[:, 8:48])
    return whole


RGB = dict(photometric="RGB")
SAME = {
    "8 bit.png": (COLOUR, pillow, {}),
    "8 bit.tif": (COLOUR, pillow, {}),
    "8 bit.bmp": (COLOUR, pillow, {}),
    "8 bit.webp": (COLOUR, pillow, dict(lossless=True)),
    "one frame.gif": (GRAY, pillow, {}),
    "cmyk.tif": (COLOUR, pillow, dict(mode="CMYK")),
    "gray.png": (GRAY, pillow, {}),
    "gray.tif": (GRAY, pillow, {}),
    "palette.png": (GRAY, pillow, dict(mode="P")),
    "alpha.png": (np.dstack([COLOUR, NIR]), pillow, {}),
    "16 bit.png": (WIDE, png16, {}),
    "16 bit alpha.png": (np.dstack([WIDE, WIDE[..., :1]]), png16, {}),
    "16 bit gray.png": (WIDE[..., 0], png16, {}),
    "16 bit gray alpha.png": (WIDE[..., :2], png16, {}),
    "16 bit gray.tif": (WIDE[..., 0], pillow, {}),
    "12 bit.png": (TWELVE, png16, dict(bits=12)),
    "12 bit gray.png": (TWELVE[..., 0], png16, dict(bits=12)),
    "12 bit as they are.png": (TWELVE, png16, dict(sbit=12)),
    "12 bit gray as they are.png": (TWELVE[..., 0], png16, dict(sbit=12)),
    "gray MaxSampleValue.tif": (TWELVE[..., 0], pillow, dict(tiffinfo={281: 4095})),
    "16 bit.tif": (WIDE, geotiff, RGB),
    "16 bit lzw.tif": (WIDE, geotiff, dict(RGB, compress="lzw", predictor=2)),
    "16 bit planes.tif": (WIDE, geotiff, dict(RGB, interleave="band")),
    "8 bit planes.tif": (COLOUR, geotiff, dict(RGB, interleave="band")),
    "16 bit, colours not told.tif": (WIDE, geotiff, {}),
    "12 bit.tif": (TWELVE, geotiff, dict(RGB, nbits=12)),
    "12 bit gray.tif": (TWELVE[..., 0], geotiff, dict(nbits=12)),
    "10 bit gray.tif": ((GRAY / 255 * 1023).round().astype(np.uint16), geotiff, dict(nbits=10)),
    "floats.tif": ((COLOUR / 255).astype(np.float32), geotiff, {}),
    "gray floats.tif": ((GRAY / 255).astype(np.float32), pillow, {}),
    "gray doubles.tif": (GRAY / 255, geotiff, {}),
    "white is 0.tif": (255 - GRAY, geotiff, dict(photometric="MINISWHITE")),
    "16 bit, white is 0.tif": (65535 - WIDE[..., 0], geotiff, dict(photometric="MINISWHITE")),
    "bgr.tif": (COLOUR[..., ::-1], geotiff, dict(colours=("blue", "green", "red"))),
    "bgrn.tif": (
        np.dstack([COLOUR[..., ::-1], NIR]),
        geotiff,
        dict(colours=("blue", "green", "red", "nir")),
    ),
    "nrgb.tif": (
        np.dstack([NIR, COLOUR]),
        geotiff,
        dict(colours=("nir", "red", "green", "blue")),
    ),
    "named.tif": (
        np.dstack([WIDE[..., ::-1], WIDE[..., :1]]),
        geotiff,
        dict(names=("B2 Blue", "B3 Green", "B4 Red", "B8 NIR")),
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_every_way_to_store_a_picture_gives_the_same(tmp_path, name):
    values, write, options = SAME[name]
    path = tmp_path / name
    write(path, np.ascontiguousarray(values), **options)
    gray = any(word in name for word in ("gray", "one frame", "palette", "white"))
    np.testing.assert_array_equal(read(path), GRAY_3 if gray else COLOUR)


@pytest.mark.parametrize("name", ["lossy.jpg", "lossy.jfif", "cmyk.jpg"])
def test_lossy_formats_come_near(tmp_path, name):
    mode = "CMYK" if "cmyk" in name else None
    pillow(tmp_path / name, COLOUR, mode, format="JPEG", quality=95)
    assert np.abs(read(tmp_path / name).astype(int) - COLOUR).mean() < 1


STATED = {
    "12 bit as 16.png": (TWELVE, png16, (0, 4095), "16-bit pixels of at most 4095"),
    "12 bit gray as 16.png": (TWELVE[..., 0], png16, (0, 4095), "16-bit pixels of at most 4095"),
    "12 bit as 16.tif": (TWELVE, geotiff, (0, 4095), r"state .* data.range=\(0, 4095\)"),
    "8 bit gray as 32.tif": (GRAY.astype(np.int32), pillow, (0, 255), "32-bit pixels from 0 to"),
    "8 bit as 32.tif": (COLOUR.astype(np.int32), geotiff, (0, 255), "32-bit pixels from 0 to 255"),
    "gray, signed.tif": (GRAY.astype(np.int16) * 9 - 99, geotiff, (-99, 2196), "16-bit pixels f"),
    "gray, 32 bit.tif": (GRAY.astype(np.uint32) << 24, geotiff, (0, 255 << 24), "32-bit pixels"),
    "8 bit as floats.tif": (COLOUR.astype(np.float32), geotiff, (0, 255), "floats from 0 to 255"),
    "dark gray floats.tif": (GRAY.astype(np.float32) / 4096, pillow, (0, 255 / 4096), "floats f"),
}


@pytest.mark.parametrize("name", STATED)
def test_a_range_that_is_not_declared_is_stated_or_refused(tmp_path, name):
    values, write, stated, words = STATED[name]
    write(tmp_path / name, values)
    for reading in (images.decode_image, read, lambda p: images.decode_bytes(p.read_bytes(), 9999)):
        with pytest.raises(UserError, match=words) as raised:
            reading(tmp_path / name)
        assert "\n" not in str(raised.value)
    want = GRAY_3 if "gray" in name else COLOUR
    np.testing.assert_array_equal(read(tmp_path / name, stated), want)


def test_a_stated_range_of_other_pictures_is_refused(tmp_path):
    pillow(tmp_path / "a.tif", np.full((40, 56), 30000, np.uint16))
    with pytest.raises(UserError, match=r"100% of its pixels are outside data.range=\(0, 4095\)"):
        images.decode_image(tmp_path / "a.tif", (0, 4095))
    with (
        pytest.raises(UserError, match="outside"),
        open_rows(tmp_path / "a.tif", (0, 4095)) as rows,
    ):
        rows.read(0, 40)
    pillow(tmp_path / "nan.tif", np.full((40, 56), np.nan, np.float32))
    with pytest.raises(UserError, match="NaN"):
        images.decode_image(tmp_path / "nan.tif", (0, 1))


def frames(path):
    Image.fromarray(COLOUR).save(path, save_all=True, append_images=[Image.fromarray(255 - COLOUR)])


def heic(path):
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0" + bytes(100))


REFUSED = {
    "pages.tif": (frames, "a TIFF of 2 pages"),
    "frames.gif": (frames, "a GIF of 2 frames"),
    "frames.png": (frames, "a PNG of 2 frames"),
    "frames.webp": (frames, "a WEBP of 2 frames"),
    "phone.heic": (heic, "HEIC, which is not read: save or export it as JPEG"),
    "phone.jpg": (heic, "HEIC"),
    "infrared.tif": (
        lambda p: geotiff(p, COLOUR, names=("nir", "red", "green")),
        "3 bands called nir, red, green: which are red, green and blue is not declared",
    ),
    "four bands.tif": (
        lambda p: geotiff(p, np.dstack([WIDE, WIDE[..., :1]])),
        "4 bands without colours",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_one_picture_of_colours_is_refused(tmp_path, name):
    write, words = REFUSED[name]
    write(tmp_path / name)
    by_rows = contextlib.ExitStack()
    for reading in (
        images.decode_image,
        lambda p: images.decode_bytes(p.read_bytes(), 10**6),
        lambda p: images.decode_square(p, 8),
        lambda p: by_rows.enter_context(open_rows(p)),
    ):
        with pytest.raises(UserError, match=words) as raised:
            reading(tmp_path / name)
        assert "\n" not in str(raised.value)


def test_overviews_and_thumbnails_are_no_pages(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    large = np.kron(COLOUR, np.ones((16, 16, 1), np.uint8))
    geotiff(tmp_path / "a.tif", large, tiled=True)
    with rasterio.open(tmp_path / "a.tif", "r+") as file:
        file.build_overviews([2, 4])
    np.testing.assert_array_equal(images.decode_image(tmp_path / "a.tif"), large)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_format_is_turned_alike(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in ("a.png", "a.webp", "a.tif"):
        options = dict(lossless=True) if name == "a.webp" else {}
        Image.fromarray(COLOUR).save(tmp_path / name, exif=exif, **options)
    turned = [images.decode_image(tmp_path / n) for n in ("a.png", "a.webp", "a.tif")]
    assert all((turned[0] == other).all() for other in turned[1:])
    assert turned[0].shape == ((56, 40, 3) if orientation >= 5 else (40, 56, 3))
    for values in (GRAY, WIDE[..., 0]):
        Image.fromarray(values).save(tmp_path / "g.tif", tiffinfo={274: orientation})
        assert (images.decode_image(tmp_path / "g.tif")[..., 0] == turned[0][..., 0]).all()


def test_bytes_are_refused_by_their_header_alone(tmp_path, monkeypatch):
    for name in ("a.png", "a.tif", "a.jpg", "a.webp"):
        pillow(tmp_path / name, COLOUR)
        content = (tmp_path / name).read_bytes()
        assert images.decode_bytes(content, 40 * 56).shape == COLOUR.shape
        with monkeypatch.context() as patch:
            patch.setattr(Image, "MAX_IMAGE_PIXELS", None)
            patch.setattr(Image.Image, "load", lambda self: pytest.fail("it was decoded"))
            with pytest.raises(UserError, match="^56 x 40 pixels, over the limit of 2,239$"):
                images.decode_bytes(content, 40 * 56 - 1)
    with pytest.raises(UserError, match="^not a PNG"):
        images.decode_bytes(b"hello", 100)
    with pytest.raises(UserError, match="^damaged"):
        images.decode_bytes((tmp_path / "a.png").read_bytes()[:200], 10**6)


def test_without_rasterio_a_tiff_is_read_alike_or_refused(tmp_path, monkeypatch):
    geotiff(tmp_path / "a.tif", WIDE, **RGB)
    geotiff(tmp_path / "b.tif", WIDE, **RGB, interleave="band")
    monkeypatch.setitem(__import__("sys").modules, "rasterio", None)
    np.testing.assert_array_equal(images.decode_image(tmp_path / "a.tif"), COLOUR)
    with pytest.raises(UserError, match=r"a TIFF of 3 bands of 16 bits.*\[geo\]"):
        images.decode_image(tmp_path / "b.tif")
