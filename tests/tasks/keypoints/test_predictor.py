"""One picture in memory, of any size: points in its own pixels, without jax."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageDraw

from jaxvision.input_pipeline.blob import blob_in_crop
from jaxvision.task import Prediction
from jaxvision.tasks import keypoints
from tests.tasks.keypoints.bound import SIDE, answer, bind, dataset, tiny

NAMES = ("head", "neck", "base")


def scene(x, y, height=120, width=200):
    """A dark animal of some 30 pixels at (x, y) on a bright floor with a dark wall."""
    picture = Image.new("L", (width, height), 180)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, width, 14), 60)
    draw.ellipse((x - 15, y - 6, x + 15, y + 6), 20)
    draw.line((x - 15, y, x - 34, y + 5), 40, 2)
    return np.repeat(np.asarray(picture)[..., None], 3, 2)


def points_of(prediction):
    return np.array([prediction.record["points"][name][:2] for name in NAMES])


def outputs_at(points, spread=(0.5, 0.5, 0.5)):
    """What a network would give that located these places of its input."""
    return {"points": np.float32(points)[None], "spread": np.float32(spread)[None]}


def test_the_way_into_the_network_leads_back():
    """A place in the window that the network is shown is the same place in the picture."""
    predictor = bind(tiny())[0].predictor
    for size in ((120, 200), (SIDE, SIDE), (300, 40)):
        picture = np.full((*size, 3), 180, np.uint8)
        y, x = size[0] * 2 // 3, size[1] // 2
        picture[y - 4 : y + 5, x - 4 : x + 5] = 0
        prepared = predictor.prepare(picture)
        assert prepared.inputs.shape == (1, SIDE, SIDE, 1)
        dark = 180.0 - prepared.inputs[0, ..., 0]
        rows, columns = np.mgrid[:SIDE, :SIDE]
        place = [(columns * dark).sum() / dark.sum(), (rows * dark).sum() / dark.sum()]
        prediction = predictor.decode(outputs_at([place] * 3), prepared.context, {})
        scale = max(size) / SIDE
        np.testing.assert_allclose(points_of(prediction), [[x, y]] * 3, atol=0.1 * scale)


@pytest.mark.parametrize("size", [(120, 200), (90, 90), (1300, 900), (18, 17)])
def test_in_a_picture_of_another_size_the_window_is_about_the_animal(size):
    """The model was trained on 24 x 24, and pictures are not resized to it."""
    config = tiny()
    config.data.image_size = 0
    predictor = keypoints.make_predictor(config, dataset().info)
    y, x, long = size[0] * 0.45, size[1] * 0.55, min(size) / 5
    picture = Image.new("RGB", size[::-1], (180, 180, 180))
    ImageDraw.Draw(picture).ellipse((x - long, y - long / 3, x + long, y + long / 3), (9, 9, 9))
    prepared = predictor.prepare(np.asarray(picture))
    assert prepared.inputs.shape == (1, SIDE, SIDE, 1)
    centre = [(SIDE - 1) / 2] * 2
    prediction = predictor.decode(outputs_at([centre] * 3), prepared.context, {})
    np.testing.assert_allclose(points_of(prediction), [[x, y]] * 3, atol=max(1.5, 0.02 * max(size)))
    length = blob_in_crop(prepared.inputs[0], "dark").length  # in the window as in training
    assert length == pytest.approx(dataset().info["blob_length"], rel=0.25)


@pytest.mark.parametrize("size", [(1, 3000), (3000, 1), (2, 1300)])
def test_a_strip_of_a_picture_has_an_answer_or_a_reason(size):
    config = tiny()
    config.data.image_size = 0
    predictor = keypoints.make_predictor(config, dataset().info)
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    assert predictor.prepare(picture).inputs.shape == (1, SIDE, SIDE, 1)


def test_pictures_of_a_model_that_is_not_square():
    info = {**dataset().info, "image": [24, 37, 3]}
    config = tiny()
    config.data.image_size = 0
    predictor = keypoints.make_predictor(config, info)
    for factor in (0.6, 1.3, 2.5):
        picture = scene(110, 65, 130, 200)[20:]
        size = (round(200 * factor), round(110 * factor))
        picture = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))
        prepared = predictor.prepare(picture)
        assert prepared.inputs.shape == (1, 24, 37, 3)
        middle = predictor.decode(outputs_at([[18, 11.5]] * 3), prepared.context, {})
        place = np.array([110, 45]) * factor
        np.testing.assert_allclose(points_of(middle), [place] * 3, atol=2 * factor + 1)


def test_gray_pictures_are_the_same_as_their_three_equal_channels():
    task, apply = bind(tiny())
    picture = scene(110, 65)
    three, one = answer(task, apply, picture), answer(task, apply, picture[..., :1])
    assert three.record == one.record


def test_a_prediction_does_not_depend_on_its_batch_mates():
    task, apply = bind(tiny(batch_size=8))
    alone_task, alone = bind(tiny(batch_size=1))
    pictures = [scene(60 + 10 * i, 50 + i) for i in range(8)]
    inputs = [(i, task.predictor.prepare(picture).inputs) for i, picture in enumerate(pictures)]
    for (i, a), (j, b) in zip(apply(iter(inputs)), alone(iter(inputs)), strict=True):
        assert i == j
        np.testing.assert_allclose(a["points"], b["points"], atol=1e-3)
        np.testing.assert_allclose(a["spread"], b["spread"], atol=1e-3)


def test_confidence_falls_with_the_expected_error():
    config = tiny()
    config.data.image_size = 32
    info = {**dataset().info, "image": [32, 32, 1]}
    predictor = keypoints.make_predictor(config, info)
    view = predictor.prepare(np.zeros((SIDE, SIDE, 3), np.uint8)).context
    outputs = outputs_at([[5, 5], [9, 5], [20, 5]], (0.5, 1.6, 9.0))
    record = predictor.decode(outputs, view, {"error_per_spread": 1.0}).record
    confidence = [row[2] for row in record["points"].values()]
    assert confidence[0] > 0.99 and confidence[1] == pytest.approx(0.5) and confidence[2] < 0.05
    assert record["heading_degrees"] == pytest.approx(180)
    assert record["heading_confidence"] < 0.05
    assert record["degrees"][0] == record["heading_degrees"]
    assert record["degrees_confidence"][0] == record["heading_confidence"]
    doubted = predictor.decode(outputs, view, {"error_per_spread": 3.0}).record
    assert doubted["points"]["neck"][2] < 0.1
    assert predictor.describe(record).startswith("heading 180 degrees")


def test_the_pose_is_drawn_where_the_points_are():
    predictor = bind(tiny())[0].predictor
    rows = {name: [40.0 + 60 * k, 30.0, 1.0] for k, name in enumerate(NAMES)}
    record = json.loads(json.dumps({"points": rows, "degrees": [180.0, 180.0]}))
    picture = np.full((90, 200, 3), 128, np.uint8)
    drawn = predictor.render(picture, Prediction(record, {}))
    assert drawn.shape == (180, 400, 3)  # small ones are enlarged
    for k, colour in enumerate(((230, 80, 30), (240, 228, 66), (86, 180, 233))):
        assert tuple(drawn[60, 80 + 120 * k]) == colour


def test_prediction_needs_no_jax(tmp_path):
    code = """
import sys, json
import numpy as np
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('jax', 'jaxlib', 'flax', 'optax', 'orbax'):
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
from configs import rat
from jaxvision.tasks import keypoints
info = json.loads(sys.argv[1])
predictor = keypoints.make_predictor(rat.get_config(), info)
picture = np.full((200, 300, 3), 200, np.uint8)
picture[90:110, 100:160] = 10
prepared = predictor.prepare(picture)
outputs = {'points': np.ones((1, 3, 2), np.float32), 'spread': np.ones((1, 3), np.float32)}
prediction = predictor.decode(outputs, prepared.context, {})
assert predictor.render(picture, prediction).shape == (200, 300, 3)
def apply(items):
    for key, inputs in items:
        yield key, outputs
np.savez(sys.argv[2] + '/crops.npz', images=np.zeros((5, 24, 24), np.uint8))
record = predictor.stream(apply, sys.argv[2] + '/crops.npz', sys.argv[2] + '/out', {})
assert record['frames'] == 5
"""
    info = json.dumps(dataset().info)
    subprocess.run([sys.executable, "-c", code, info, str(tmp_path)], check=True)
