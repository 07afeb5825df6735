import io
import json
import os
import time
import warnings

import numpy as np
import pytest
from PIL import Image

from jaxvision import cache as cache_module
from jaxvision.errors import UserError
from jaxvision.input_pipeline import checks, images, parallel

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (6, 4, 3), np.uint8)
BLOCK = np.zeros((64, 64), np.uint8)
BLOCK[19:43, 13:50] = 1  # off the 8-pixel grid of JPEG, which would store it exactly


def saved(path, pixels, mode=None, **options):
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


@pytest.mark.parametrize(
    "name", ["a.png", "a.PNG", "a.tif", "a.TIFF", "a.webp", "a.JPG", "a.jpeg", "a.jfif", "a.bmp"]
)
def test_image_formats(tmp_path, name):
    smooth = np.full((16, 24, 3), (200, 60, 30), np.uint8)
    options = {"lossless": True} if name.endswith("webp") else {}
    path = saved(tmp_path / name, smooth, **options)
    decoded = images.decode_image(path)
    assert decoded.dtype == np.uint8 and decoded.shape == (16, 24, 3)
    assert np.abs(decoded.astype(int) - smooth).max() <= 3  # JPEG


def test_modes_become_rgb(tmp_path):
    gray = COLOUR[..., 0]
    path = saved(tmp_path / "gray.png", gray)
    assert (images.decode_image(path) == gray[..., None]).all()
    path = saved(tmp_path / "alpha.png", np.dstack([COLOUR, np.zeros((6, 4), np.uint8)]))
    assert (images.decode_image(path) == COLOUR).all()
    path = saved(tmp_path / "bit.png", gray > 127)
    assert (images.decode_image(path) == ((gray > 127) * 255)[..., None]).all()
    path = tmp_path / "palette.png"
    palette = Image.fromarray(COLOUR).convert("P", palette=Image.Palette.ADAPTIVE, colors=32)
    palette.save(path, transparency=bytes([128] * 32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (images.decode_image(path) == COLOUR).all()


@pytest.mark.parametrize("interleave", ["pixel", "band"])
@pytest.mark.parametrize("compress", ["none", "lzw"])
@pytest.mark.parametrize("bands", [1, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_multi_band_tiff_is_right_or_an_error(tmp_path, interleave, compress, bands, dtype):
    rasterio = pytest.importorskip("rasterio", reason="GeoTIFFs are written with rasterio")
    values = RNG.integers(0, 256, (bands, 6, 4)).astype(dtype)
    values = values * 257 if dtype == "uint16" else values
    photometric = "RGB" if bands in (3, 4) else "MINISBLACK"
    options = {"interleave": interleave, "compress": compress, "photometric": photometric}
    path = tmp_path / "a.tif"
    warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
    with rasterio.open(
        path, "w", driver="GTiff", width=4, height=6, count=bands, dtype=dtype, **options
    ) as file:
        file.write(values)
    shown = values[:3] if bands > 1 else np.repeat(values, 3, axis=0)
    shown = (shown >> 8 if dtype == "uint16" else shown).transpose(1, 2, 0)
    if bands < 5 and interleave == "pixel":  # what cameras and GIS programs write by default
        assert (images.decode_image(path) == shown).all()
        return
    try:
        decoded = images.decode_image(path)
    except UserError:
        return
    assert (decoded == shown).all()


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees
    path = tmp_path / "a.png"
    Image.fromarray(COLOUR).save(path, exif=exif)
    assert (images.decode_image(path) == np.rot90(COLOUR, -1)).all()


@pytest.mark.parametrize(
    "least, shape",
    [(0, (640, 400)), (201, (640, 400)), (200, (320, 200)), (99, (160, 100)), (9, (80, 50))],
)
def test_a_jpeg_is_decoded_at_the_fraction_that_keeps_the_least_side(tmp_path, least, shape):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.fromarray(COLOUR).resize((640, 400), Image.Resampling.BICUBIC)
    picture.save(tmp_path / "a.jpg", quality=95, exif=exif)
    decoded = images.decode_image(tmp_path / "a.jpg", least_side=least)
    content = (tmp_path / "a.jpg").read_bytes()
    np.testing.assert_array_equal(images.decode_bytes(content, 10**6, (), least), decoded)
    assert decoded.shape == (*shape, 3)  # upright
    whole = np.asarray(picture.rotate(-90, expand=True).resize(shape[::-1], Image.Resampling.BOX))
    assert np.abs(decoded.astype(int) - whole).mean() < 2
    Image.fromarray(whole).save(tmp_path / "a.png")
    np.testing.assert_array_equal(images.decode_image(tmp_path / "a.png", least_side=9), whole)


def test_damaged_exif_is_no_error(tmp_path):
    path = saved(tmp_path / "a.jpg", COLOUR, exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    warnings.simplefilter("ignore")
    assert images.decode_image(path).shape == (6, 4, 3)


def test_ten_thousand_pixels_a_side(tmp_path):
    path = tmp_path / "a.png"
    Image.new("1", (10_000, 10_000), 1).save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert images.decode_mask(path).all()


def test_unreadable_files_name_the_reason(tmp_path):
    whole = io.BytesIO()
    Image.fromarray(np.kron(COLOUR, np.ones((40, 40, 1), np.uint8))).save(whole, "PNG")
    (tmp_path / "cut.png").write_bytes(whole.getvalue()[:-200])
    (tmp_path / "page.png").write_text("<html>not here</html>")
    (tmp_path / "empty.png").write_bytes(b"")
    for name, reason in (
        ("cut.png", "damaged: .*truncated"),
        ("page.png", "not a PNG, JPEG, TIFF, WebP, BMP or GIF"),
        ("empty.png", "not a PNG, JPEG, TIFF, WebP, BMP or GIF"),
        ("gone.png", "no such file"),
    ):
        with pytest.raises(UserError, match=f"{name}: {reason}") as raised:
            images.decode_image(tmp_path / name)
        assert "\n" not in str(raised.value)


def test_outcomes_are_kept_and_redone(tmp_path, cache_folder, monkeypatch):
    good, bad = saved(tmp_path / "a.png", COLOUR), tmp_path / "b.png"
    bad.write_bytes(b"")
    files = [(str(good), "image"), (str(bad), "image")]
    first = checks.check_files(files, tmp_path)
    assert first[0][:2] == (6, 4) and first[0].digest and not first[0].error
    assert first[1].error.startswith("not a PNG")

    calls, read = [], images.read_picture
    monkeypatch.setattr(images, "read_picture", lambda p, r: calls.append(p) or read(p, r))
    assert checks.check_files(files, tmp_path) == first
    assert calls == [str(bad)]  # the good one is not decoded again

    saved(good, COLOUR[:, ::-1])
    os.utime(good, ns=(1, 1))
    assert checks.check_files(files, tmp_path)[0].digest != first[0].digest

    (store,) = (cache_folder / "checked").iterdir()
    for damage in (b"\xff{", b"[1]", json.dumps({"a": 3}).encode()):
        store.write_bytes(damage)
        calls.clear()
        assert checks.check_files(files, tmp_path)[0].height == 6
        assert str(good) in calls
        calls.clear()
        assert checks.check_files(files, tmp_path)[0].height == 6 and calls == [str(bad)]


def test_a_file_that_changed_behind_the_same_size_and_time_is_read_again(tmp_path):
    path = saved(tmp_path / "a.bmp", COLOUR)
    os.utime(path, ns=(10**18, 10**18))
    before, first = path.stat(), checks.check_files([(str(path), "image")], tmp_path)[0]
    saved(path, COLOUR[::-1])
    os.utime(path, ns=(10**18, 10**18))
    after = path.stat()
    assert (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    assert checks.check_files([(str(path), "image")], tmp_path)[0].digest != first.digest


def test_other_code_or_another_range_decodes_again(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.tif", COLOUR[..., 0].astype(np.uint16) * 257)
    first = checks.check_files([(str(path), "image")], tmp_path)[0]
    half = checks.check_files([(str(path), "image")], tmp_path, (0, 40000))[0]
    assert half.digest != first.digest
    monkeypatch.setattr(cache_module, "code_version", lambda: "another")
    calls, read = [], images.read_picture
    monkeypatch.setattr(images, "read_picture", lambda p, r: calls.append(p) or read(p, r))
    assert checks.check_files([(str(path), "image")], tmp_path)[0] == first and calls


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("JAXVISION_CACHE", str(tmp_path / "file" / "below"))
    path = saved(tmp_path / "a.png", COLOUR)
    assert checks.check_files([(str(path), "image")], tmp_path)[0].width == 4


def test_digest_knows_the_shape(tmp_path):
    flat = saved(tmp_path / "a.png", np.zeros((2, 8, 3), np.uint8))
    tall = saved(tmp_path / "b.png", np.zeros((8, 2, 3), np.uint8))
    outcomes = checks.check_files([(str(flat), "image"), (str(tall), "image")], tmp_path)
    assert outcomes[0].digest != outcomes[1].digest


def test_skip_problems():
    assert checks.skip_problems([], 10, "x") == []
    (note,) = checks.skip_problems(["a: cut"], 100, "x")
    assert note == "skipped 1 of 100 examples in x: a: cut"
    with pytest.raises(UserError, match="2 of 199 examples in x cannot be used .*: a: cut; b: cut"):
        checks.skip_problems(["a: cut", "b: cut"], 199, "x")
    with pytest.raises(UserError, match="; and 3 more. Put"):
        checks.skip_problems(["a: cut"] * 8, 8, "x")


def test_drop_duplicates():
    kept, notes = checks.drop_duplicates({"train": "abbcd", "val": "cde", "test": "dd"})
    assert kept == {"train": [0, 1, 2], "val": [0, 2], "test": [0, 1]}
    assert notes == [
        "1 of 2 test images are copies inside test",
        "dropped 1 of 3 val images: exact copies are in test",
        "dropped 1 of 5 train images: exact copies are in val",
        "dropped 1 of 5 train images: exact copies are in test",
        "1 of 3 train images are copies inside train",
    ]


def test_threaded_keeps_order_and_raises():
    items = list(range(200))
    assert list(parallel.threaded(lambda i: -i, items, "x", 4)) == [-i for i in items]
    with pytest.raises(ZeroDivisionError):
        list(parallel.threaded(lambda i: 1 // i, items, "x", 4))


def test_progress_only_for_long_work(capsys, monkeypatch):
    list(parallel.threaded(abs, range(50), "checking images", 2))
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(parallel, "QUIET_SECONDS", 0.05)
    list(parallel.threaded(lambda _: time.sleep(0.02), range(12), "checking images", 1))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1  # stderr is no terminal here: not a line each time
    assert lines[0].startswith("checking images ") and "/12  " in lines[0]
    assert " images/s  left 0m0" in lines[0]
