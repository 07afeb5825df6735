"""Pictures in memory: their own coordinates whatever their size, and the files of a stream."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.transform import from_origin

from jaxvision.batching import apply_in_batches
from jaxvision.errors import UserError
from jaxvision.input_pipeline.images import decode_image
from jaxvision.tasks import segmentation
from jaxvision.tasks.segmentation import overlay, predictor, write
from tests.tasks.segmentation.streaming import brightness, options_of, stream_file
from tests.tiny import tiny_config


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def predicted(answer, image, threshold=0.5):
    prepared = answer.prepare(image)
    outputs = {"probability": brightness(prepared.inputs)}
    return answer.decode(outputs, prepared.context, {"threshold": threshold})


@pytest.fixture(scope="module")
def unet():
    """(task, its jitted predict with random variables)."""
    task = segmentation.make(tiny_config(), {})
    rows = {"image": np.zeros((1, 32, 32, 3), np.uint8)}
    variables = jax.jit(task.model.init)(jax.random.key(0), rows)
    return task, functools.partial(jax.jit(task.model.predict), variables)


@pytest.mark.parametrize("size", [(1, 1), (7, 500), (256, 256), (300, 90), (600, 700), (2000, 30)])
def test_answers_in_the_pictures_own_pixels(size):
    answer, image = predictor.make(options_of()), picture(*size)
    prediction = predicted(answer, image, 0.55)
    np.testing.assert_array_equal(prediction.arrays["probability"], brightness(image))
    np.testing.assert_array_equal(prediction.arrays["mask"], brightness(image) >= 0.55)
    record = json.loads(json.dumps(prediction.record))
    assert (record["height"], record["width"], record["threshold"]) == (*size, 0.55)
    assert record["building_share"] == pytest.approx((brightness(image) >= 0.55).mean())
    assert answer.render(image, prediction).shape == image.shape
    assert answer.prepare(image).inputs.shape[1] % 32 == 0


def test_gray_pictures():
    gray = np.repeat(picture(40, 50)[:, :, :1], 3, axis=2)
    prediction = predicted(predictor.make(options_of()), gray)
    np.testing.assert_array_equal(prediction.arrays["probability"], brightness(gray))


def test_one_tile_gives_what_the_model_gives(unet):
    task, predict = unet
    image = picture(128, 256)
    prepared = task.predictor.prepare(image)
    assert prepared.inputs.shape == (1, 128, 256, 3)
    outputs = {name: np.asarray(array) for name, array in predict(prepared.inputs).items()}
    prediction = task.predictor.decode(outputs, prepared.context, {})
    plain = np.asarray(predict(image[None])["probability"])[0]
    np.testing.assert_array_equal(prediction.arrays["probability"], plain)


def test_rows_do_not_depend_on_their_batch_mates(unet):
    _, predict = unet
    images = np.stack([picture(64, 64, seed) for seed in range(8)])
    together = predict(images)["probability"]
    alone = [predict(image[None])["probability"][0] for image in images]
    np.testing.assert_allclose(together, alone, atol=2e-6)


def test_pictures_that_share_batches_keep_their_own_answers(unet):
    task, predict = unet
    answer = task.predictor
    pictures = [picture(*size, seed) for seed, size in enumerate([(128, 128), (9, 20), (600, 90)])]
    prepared = [answer.prepare(image) for image in pictures]
    keyed = ((i, p.inputs) for i, p in enumerate(prepared))
    for i, outputs in apply_in_batches(predict, keyed, batch_size=4):
        together = answer.decode(outputs, prepared[i].context, {})
        ((_, own),) = apply_in_batches(predict, [(0, prepared[i].inputs)], batch_size=1)
        alone = answer.decode(own, prepared[i].context, {})
        assert together.arrays["mask"].shape == pictures[i].shape[:2]
        np.testing.assert_allclose(
            together.arrays["probability"], alone.arrays["probability"], atol=2e-6
        )


def saved(folder, image, name="in.png"):
    folder.mkdir(exist_ok=True)
    path = folder / name
    Image.fromarray(image).save(path)
    return path


@pytest.mark.parametrize("size", [(75, 131), (600, 520), (30, 5000)])
def test_writes_what_a_stream_writes(tmp_path, size):
    image = picture(*size)
    image[:, : size[1] // 2] //= 2
    path = saved(tmp_path / "photos", image)
    chosen = dict(probability=True, polygons=True, side_by_side=True, min_area=3.0)
    streamed = stream_file(brightness, path, tmp_path / "streamed", **chosen)
    answer = predictor.make(options_of(**chosen))
    prediction = predicted(answer, image)
    entries = answer.write(image, prediction, path, tmp_path / "written")
    record = {"file": str(path), **prediction.record, **entries}
    assert record.keys() == streamed.keys() and record["footprints"] > 0
    files = ("mask", "probability", "side_by_side", "polygons")
    for name in record.keys() - set(files):
        assert record[name] == streamed[name], name
    assert sorted(os.listdir(tmp_path / "written")) == sorted(os.listdir(tmp_path / "streamed"))
    for kind in files[:3]:
        a, b = (np.asarray(Image.open(r[kind])) for r in (record, streamed))
        np.testing.assert_array_equal(a, b)
    assert Path(record["polygons"]).read_text() == Path(streamed["polygons"]).read_text()
    in_memory = json.loads(json.dumps(answer.geojson(prediction, None)))
    assert in_memory == json.loads(Path(record["polygons"]).read_text())


def test_render_is_the_right_half_of_side_by_side():
    image = picture(40, 50)
    mask = image[..., 0] > 128
    both = np.asarray(overlay.side_by_side(image, mask[..., None].astype(np.uint8) * 255))
    prediction = predictor.Prediction({}, {"mask": mask})
    np.testing.assert_array_equal(predictor.render(image, prediction), both[:, 58:])
    np.testing.assert_array_equal(image, picture(40, 50))  # the picture itself is left alone


def test_georeference_of_a_written_picture_is_its_files(tmp_path):
    """A PNG whose place is told by files beside it, as map servers give them."""
    image = np.zeros((90, 130, 3), np.uint8)
    image[20:50, 60:100] = 255
    path = tmp_path / "in.png"
    place = dict(crs="EPSG:32633", transform=from_origin(601_000, 5_340_000, 0.5, 0.5))
    kind = dict(driver="PNG", count=3, height=90, width=130, dtype="uint8")
    with rasterio.open(path, "w", **kind, **place) as file:
        file.write(image.transpose(2, 0, 1))
    assert not write.streams(path)
    answer = predictor.make(options_of(polygons=True))
    entries = answer.write(image, predicted(answer, image), path, tmp_path / "out")
    collection = json.loads(Path(entries["polygons"]).read_text())
    assert collection["coordinate_system"] == "WGS 84 longitude, latitude"
    assert collection["features"][0]["properties"]["area_m2"] == pytest.approx(300, rel=2e-3)


def test_what_is_streamed(tmp_path, monkeypatch):
    monkeypatch.setattr(write, "STREAM_PIXELS", 1000)
    small, large = saved(tmp_path, picture(20, 30)), saved(tmp_path, picture(40, 30), "large.jpg")
    assert not write.streams(small) and write.streams(large)
    assert write.streams(saved(tmp_path, picture(20, 30), "in.tif"))
    (tmp_path / "text.png").write_text("hello")
    assert write.streams(tmp_path / "text.png")
    with pytest.raises(UserError, match="text.png"):
        stream_file(brightness, tmp_path / "text.png", tmp_path / "masks")
    np.testing.assert_array_equal(decode_image(small), picture(20, 30))


def test_few_words():
    record = {"building_share": 0.1234}
    assert predictor.describe(record) == "building 12.3 % of the picture"
    assert predictor.describe({**record, "footprints": 41}).endswith("picture, 41 footprints")
    assert predictor.describe({**record, "footprints": 1}).endswith("picture, 1 footprint")


def test_neither_jax_nor_flax_is_needed():
    code = """
import sys
import numpy as np
from configs import unet
from jaxvision.tasks import segmentation
answer = segmentation.make_predictor(unet.get_config(), {})
prepared = answer.prepare(np.zeros((50, 600, 3), np.uint8))
outputs = {"probability": np.ones(prepared.inputs.shape[:3], np.float32)}
prediction = answer.decode(outputs, prepared.context, {})
assert len(answer.geojson(prediction, None)["features"]) == 1
assert not {"jax", "flax"} & set(sys.modules), "imported"
segmentation.make_report(unet.get_config(), {})
assert "flax" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
