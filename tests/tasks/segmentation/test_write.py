"""Pictures of any size: the files written, that tiles leave no trace, and what is an error."""

import json
import os
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import png
import pytest
import rasterio
from PIL import Image

from jaxvision.errors import UserError
from jaxvision.input_pipeline.windows import open_rows
from jaxvision.tasks.segmentation import predictor, tiling
from tests.tasks.segmentation.streaming import apply_of, brightness, options_of, stream_file


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def segment(path, output, predict=brightness, **changes):
    options = dict(tile=32, overlap=8, probability=True) | changes
    return stream_file(predict, path, output, **options)


def saved(folder, image, name="in.png"):
    folder.mkdir(exist_ok=True)
    path = folder / name
    Image.fromarray(image).save(path)
    return path


def rows_of(image, predict, tile, overlap, batch_size=3):
    """The probability of a picture, row by row; as from all tiles at once."""
    down, across = (tiling.Axis(length, tile, overlap) for length in image.shape[:2])
    tiles = tiling.cut_rows(lambda top, bottom: image[top:bottom], down, across)
    cut = list(tiles)
    np.testing.assert_array_equal(np.stack(cut), tiling.cut(image, down, across))
    outputs = apply_of(predict, batch_size)((i, t[None]) for i, t in enumerate(cut))
    probabilities = np.stack([o["probability"][0] for _, o in outputs])
    rows = np.concatenate(list(tiling.join_rows(iter(probabilities), down, across)))
    np.testing.assert_array_equal(rows, tiling.join(probabilities, down, across))
    return rows


@pytest.mark.parametrize("size", [(1, 1), (7, 90), (31, 33), (32, 32), (61, 5), (100, 77)])
@pytest.mark.parametrize("tile, overlap", [(32, 0), (32, 1), (32, 8), (24, 23), (16, 11)])
def test_pointwise_model_is_exact(size, tile, overlap):
    image = picture(*size)
    probability = rows_of(image, brightness, tile, overlap)
    np.testing.assert_array_equal(probability, brightness(image))


def blur(images, radius=4):
    """Mean over a square, zeros beyond the border, as a convolution pads."""
    side = 2 * radius + 1
    values = jnp.asarray(images, jnp.float32).mean(-1) / 255
    window = dict(window_dimensions=(1, side, side), window_strides=(1, 1, 1), padding="SAME")
    return jax.lax.reduce_window(values, 0.0, jax.lax.add, **window) / side**2


def test_no_seams_within_a_quarter_of_the_overlap():
    image = picture(150, 131)
    probability = rows_of(image, blur, tile=48, overlap=16)
    np.testing.assert_allclose(probability, blur(image[None])[0], atol=1e-6)


def test_wider_models_fade_from_tile_to_tile():
    """On a white picture every step comes from the tiles: fading makes it a fraction of a cut."""
    image = np.full((40, 200, 3), 255, np.uint8)
    cut, faded = (
        rows_of(image, lambda x: blur(x, radius=8), tile=64, overlap=overlap)[20]
        for overlap in (0, 20)
    )
    inside = slice(10, -10)
    assert np.abs(np.diff(cut[inside])).max() > 0.05
    assert 1 - faded[inside].min() < 0.3 * (1 - cut[inside].min())


@pytest.mark.parametrize("overlap", [0, 1, 2, 7, 8, 31])
def test_weights_cover_everything(overlap):
    for length in (32, 33, 40, 95, 200):
        axis = tiling.Axis(length, 32, overlap)
        starts, total = axis.starts, np.zeros(length)
        for start, weights in zip(starts, tiling.blend_weights(axis), strict=True):
            total[start : start + 32] += weights
        assert total.min() > 1e-4
        assert starts[-1] + 32 == length


def test_rows_are_read_once_and_few_are_held():
    """Of a high picture, rows are asked for as tiles are taken, each once."""
    image, read = picture(1000, 70), []

    def read_rows(top, bottom):
        read.extend(range(top, bottom))
        return image[top:bottom]

    down, across = tiling.Axis(1000, 32, 8), tiling.Axis(70, 32, 8)
    for taken, _ in enumerate(tiling.cut_rows(read_rows, down, across)):
        assert len(read) <= 32 + taken // len(across.starts) * 24
    assert taken + 1 == len(down.starts) * len(across.starts)
    assert read == list(range(1000))


@pytest.mark.parametrize(
    ("length", "side", "count"),
    [(600, 384, 2), (256, 256, 1), (512, 512, 1), (513, 384, 2), (100, 128, 1), (1, 128, 1),
     (960, 512, 2), (961, 384, 3), (5000, 512, 12)],
)  # fmt: skip
def test_tiles_are_as_few_and_as_small_as_they_can_be(length, side, count):
    axis = tiling.choose_axis(length, 512, 64)
    assert (axis.tile, len(axis.starts)) == (side, count)
    assert axis.starts[-1] + side == max(length, side)
    assert all(b - a <= side - 64 for a, b in zip(axis.starts, axis.starts[1:], strict=False))


def test_one_tile_without_padding_is_the_picture_itself():
    image = picture(256, 384)
    down, across = (tiling.choose_axis(length, 512, 64) for length in image.shape[:2])
    tiles = tiling.cut(image, down, across)
    assert tiles.shape == (1, 256, 384, 3) and np.shares_memory(tiles, image)


def test_files_and_record(tmp_path):
    image = picture(75, 131)
    path = saved(tmp_path / "photos", image)
    output = tmp_path / "new" / "masks"
    record = segment(path, output, polygons=True, side_by_side=True)
    expected = brightness(image)
    mask, probability = (np.asarray(Image.open(record[k])) for k in ("mask", "probability"))
    np.testing.assert_array_equal(mask, np.where(expected >= 0.5, 255, 0))
    np.testing.assert_array_equal(probability, np.rint(expected * 255))
    assert record["building_share"] == pytest.approx((mask > 0).mean())
    assert (record["width"], record["height"]) == (131, 75)
    polygons = json.loads((output / "in.geojson").read_text())
    assert record["footprints"] == len(polygons["features"]) > 0
    both = np.asarray(Image.open(record["side_by_side"])).astype(int)
    assert both.shape == (75, 131 + 8 + 131, 3)
    json.dumps(record)
    files = ["in.geojson", "in.png", "in_probability.png", "in_side_by_side.jpg"]
    assert sorted(os.listdir(output)) == files


def test_side_by_side_is_reduced(tmp_path):
    image = np.zeros((30, 5000, 3), np.uint8)
    image[:, 2500:] = 255  # the right half is building
    path = saved(tmp_path / "photos", image)
    record = segment(path, tmp_path / "masks", side_by_side=True, tile=64)
    both = np.asarray(Image.open(record["side_by_side"])).astype(int)
    assert both.shape == (10, 1667 + 8 + 1667, 3)
    assert np.abs(both[5, [100, 1600]] - [[0] * 3, [255] * 3]).max() < 12
    assert np.abs(both[5, [1775, 3275]] - [[0] * 3, [255, 158, 128]]).max() < 12


def test_chosen_files_only(tmp_path):
    path = saved(tmp_path / "photos", picture(20, 20))
    record = segment(path, tmp_path / "masks", probability=False)
    assert os.listdir(tmp_path / "masks") == ["in.png"]
    assert record["footprints"] is None
    assert "probability" not in record and "polygons" not in record


def test_turned_photograph(tmp_path):
    path = tmp_path / "photos" / "in.jpg"
    path.parent.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, :30] = 255
    Image.fromarray(image).save(path, exif=exif, quality=100)
    record = segment(path, tmp_path / "masks")
    mask = np.asarray(Image.open(record["mask"]))
    assert mask.shape == (60, 40)
    assert mask[:29].all() and not mask[31:].any()


def write_raster(path, bands, **options):
    """bands: [count, H, W]."""
    count, height, width = bands.shape
    kind = dict(driver="GTiff", count=count, height=height, width=width, dtype=bands.dtype)
    with rasterio.open(path, "w", **kind, **options) as file:
        file.write(bands)
    return path


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_bands_become_colours(tmp_path):
    values = np.random.default_rng(1).integers(0, 65536, (5, 40, 30), dtype=np.uint16)
    high = (values >> 8).astype(np.uint8)
    for count in (1, 2, 3, 4, 5):
        for bands in (values[:count], high[:count]):
            path = write_raster(tmp_path / f"{count}{bands.dtype}.tif", bands)
            if count == 5 or (count == 4 and bands.dtype == np.uint16):  # written without colours
                with pytest.raises(UserError, match="bands without colours"), open_rows(path):
                    pass
                continue
            with open_rows(path) as image:
                assert (image.height, image.width, image.georeference) == (40, 30, None)
                pixels = np.concatenate([image.read(0, 7), image.read(7, 40)])
            colours = high[:3] if count >= 3 else high[[0, 0, 0]]
            np.testing.assert_array_equal(pixels, colours.transpose(1, 2, 0))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_pixel_types_as_in_training(tmp_path, mode):
    from jaxvision.input_pipeline.images import decode_image

    path = tmp_path / "in.tif"
    Image.fromarray(picture(20, 30)).convert(mode).save(path)
    with open_rows(path) as image:
        np.testing.assert_array_equal(image.read(0, 20), decode_image(path))


def test_without_rasterio(tmp_path, monkeypatch):
    path = saved(tmp_path / "photos", picture(50, 40))
    with_it = segment(path, tmp_path / "with")
    monkeypatch.setitem(sys.modules, "rasterio", None)
    without = segment(path, tmp_path / "without")
    for kind in ("mask", "probability"):
        assert Path(with_it[kind]).read_bytes() == Path(without[kind]).read_bytes()
    with pytest.raises(UserError, match=r'rasterio.*pip install -e "\.\[geo\]"'):
        predictor.make(options_of(polygons=True))


def test_failure_leaves_nothing(tmp_path):
    path = saved(tmp_path / "photos", picture(100, 40))
    output = tmp_path / "masks"
    segment(path, output)
    before = {file.name: file.read_bytes() for file in output.iterdir()}
    calls = []

    def fails(images):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("device lost")
        return 1 - brightness(images)

    with pytest.raises(RuntimeError, match="device lost"):
        segment(path, output, fails, batch_size=1)
    assert {file.name: file.read_bytes() for file in output.iterdir()} == before


def truncated(folder, name):
    """A picture whose second half is missing."""
    image = np.kron(picture(20, 30), np.ones((16, 16, 1), np.uint8))
    path = saved(folder, image, name)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return path


@pytest.mark.parametrize("name", ["in.png", "in.jpg", "in.tif"])
def test_damaged_picture(tmp_path, name):
    path = truncated(tmp_path / "photos", name)
    with pytest.raises(UserError) as caught:
        segment(path, tmp_path / "masks", tile=512)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "masks").exists() or os.listdir(tmp_path / "masks") == []


def test_no_picture(tmp_path):
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty.jpg").touch()
    for name in ("text.png", "empty.jpg", "missing.png"):
        with pytest.raises(UserError, match=name):
            segment(tmp_path / name, tmp_path / "masks")
    assert not (tmp_path / "masks").exists()


def test_pixels_that_are_no_colours(tmp_path):
    dark = np.full((10, 10), 200, np.uint16)
    with open(tmp_path / "dark.png", "wb") as file:
        png.Writer(10, 10, greyscale=True, bitdepth=16).write(file, dark.tolist())
    with pytest.raises(UserError, match=r"dark.png: .*at most 200"):
        segment(tmp_path / "dark.png", tmp_path / "masks")


def test_output_that_is_a_file(tmp_path):
    path = saved(tmp_path / "photos", picture(20, 20))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write into .*file"):
        segment(path, tmp_path / "file")
