"""Photos in memory: the square that is looked at, the answer, the card, and the files."""

import csv
import functools
import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from configs import perception as perception_config
from jaxvision.errors import UserError
from jaxvision.input_pipeline import loader
from jaxvision.input_pipeline.images import decode_image, decode_square
from jaxvision.task import Measured
from jaxvision.tasks import find_task, perception
from tests.tasks.perception.test_perception import open_task, tiny_config

INFO = {
    "image_size": 48, "attributes": ["safe", "lively", "boring", "wealthy"], "target": "range",
    "low": [0, 0, 0, 0], "high": [1, 1, 1, 1], "edges": [[0.5] * 9] * 4, "mean": [5, 5, 5, 5],
    "std": [2, 2, 2, 2], "shares": {},
}  # fmt: skip


def photo(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def make_predictor(**changes):
    config = perception_config.get_config()
    config.predict.update(changes)
    return perception.make_predictor(config, INFO)


def predicted(answer):
    outputs = {"score": np.float32([[6.2, 4, 1, 9.5]]), "spread": np.float32([[1, 0.9, 2, 0.5]])}
    fitted = {"spread_safe": 1.1, "slope_lively": 2.0, "offset_lively": -1.0}
    return answer.decode(outputs, None, fitted)


@pytest.mark.parametrize("size", [(1, 1), (7, 500), (90, 61), (1500, 2100)])
def test_photos_of_any_size(size):
    answer = make_predictor()
    prepared = answer.prepare(photo(*size))
    assert prepared.inputs.shape == (1, 48, 48, 3) and prepared.inputs.dtype == np.uint8
    card = answer.render(photo(*size), predicted(answer))
    assert card.dtype == np.uint8 and card.shape[2] == 3 and card.shape[0] >= 4 * 20


def test_the_square_is_that_of_training(tmp_path):
    for name, size in (("wide.png", (60, 200)), ("high.png", (301, 77))):
        Image.fromarray(photo(*size)).save(tmp_path / name)
        inputs = make_predictor().prepare(decode_image(tmp_path / name)).inputs
        np.testing.assert_array_equal(inputs[0], decode_square(tmp_path / name, 48))


def test_large_jpegs_are_read_reduced_as_in_training(tmp_path):
    path, answer = tmp_path / "large.jpg", make_predictor()
    Image.fromarray(photo(3, 4)).resize((500, 390), Image.Resampling.BICUBIC).save(path)
    reduced = decode_image(path, least_side=answer.least_side)
    assert reduced.shape == (49, 63, 3)  # an eighth
    inputs = answer.prepare(reduced).inputs
    np.testing.assert_array_equal(inputs[0], decode_square(path, 48))
    whole = answer.prepare(decode_image(path)).inputs.astype(int)
    assert 0 < abs(inputs - whole).mean() < 3


def test_gray_photos_stay_gray():
    gray = np.repeat(photo(90, 120)[:, :, :1], 3, axis=2)
    inputs = make_predictor().prepare(gray).inputs[0]
    assert (inputs == inputs[..., :1]).all() and inputs.std() > 5


def test_scores_are_calibrated():
    answer = make_predictor()
    record = json.loads(json.dumps(predicted(answer).record))
    expected = {"safe": 6.2, "lively": 7, "boring": 1, "wealthy": 9.5}
    assert record["scores"] == pytest.approx(expected)
    assert record["uncertainty"]["safe"] == pytest.approx(1.1)
    assert record["uncertainty"]["lively"] == pytest.approx(0.9)
    assert (
        answer.describe(record) == "safe 6.2 ± 1.1, lively 7.0 ± 0.9, boring 1.0 ± 2.0 and 1 more"
    )


def test_the_card_shows_photo_and_bars():
    answer, white = make_predictor(), np.full((200, 300, 3), 255, np.uint8)
    card = answer.render(white * 0 + np.uint8(90), predicted(answer))
    assert (card[:256, :384] == 90).all()
    orange = (card == (214, 108, 30)).all(axis=2).sum(axis=1)
    bars = [orange[4 + 28 * a : 32 + 28 * a].max() for a in range(4)]
    assert np.argsort(bars).tolist() == [2, 0, 1, 3]
    assert bars[3] / bars[0] == pytest.approx(8.5 / 5.2, rel=0.05)


def test_rows_do_not_depend_on_their_batch_mates():
    config = tiny_config()
    task = find_task(config, loader.load_dataset(config).info)
    images = np.stack([photo(40, 40, seed) for seed in range(8)])
    variables = jax.jit(task.model.init)(jax.random.key(0), {"image": images})
    predict = functools.partial(jax.jit(task.model.predict), variables)
    together = predict(images)
    for i, image in enumerate(images):
        for name, array in predict(image[None]).items():
            np.testing.assert_allclose(together[name][i], array[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["mse", "huber", "gaussian", "ordinal"])
def test_validation_loss_is_the_training_criterion(name):
    """Without dropout, and of rows that are known: what a training step would say of them."""
    target = "deciles" if name == "ordinal" else "range"
    task, variables, batch = open_task(
        loss__name=name, data__target=target, model__dropout=0.0, loss__scores=2.0
    )
    batch["score"][1, 2] = np.nan
    extra = {key: tree for key, tree in variables.items() if key != "params"}
    loss, _ = jax.jit(task.model.loss)(variables["params"], extra, batch, jax.random.key(0))
    measured = jax.jit(task.model.metrics)(variables, batch, jax.random.key(0))
    values = task.report.metrics(Measured({}, jax.device_get(measured.rows)), {})
    assert values["loss"] == pytest.approx(float(loss), rel=1e-4) and values["loss"] > 0.05
    assert set(task.report.headline) <= set(values)
    assert task.report.headline[:2] == ("pearson", "loss")


def test_validation_loss_of_votes_is_the_training_criterion():
    task, variables, batch = open_task(
        loss__scores=0.0, loss__votes=3.0, model__dropout=0.0, checkpoint__best_metric="loss"
    )
    extra = {key: tree for key, tree in variables.items() if key != "params"}
    loss, _ = jax.jit(task.model.loss)(variables["params"], extra, batch, jax.random.key(0))
    # The same pairs as photos with their ballots: 2 i and 2 i + 1 are a pair.
    pairs, attributes = batch["votes"].shape[:2]
    rows = {
        "features": batch["features"].reshape(-1, *batch["features"].shape[2:]),
        "score": batch["score"].reshape(-1, attributes),
        "number": np.arange(2 * pairs) + 100,
    }
    ballots = [[] for _ in range(2 * pairs)]
    for i, a, choice in np.argwhere(batch["votes"] > 0):
        ballots[2 * i] += [(101 + 2 * i, a, choice)] * int(batch["votes"][i, a, choice])
    most = max(map(len, ballots))
    padded = [own + [(-1, -1, -1)] * (most - len(own)) for own in ballots]
    rows["ballots"] = np.array(padded, np.int32)
    measured = jax.jit(task.model.metrics)(variables, rows, jax.random.key(0))
    values = task.report.metrics(Measured({}, jax.device_get(measured.rows)), {})
    assert values["loss"] == pytest.approx(float(loss), rel=1e-4) and values["loss"] > 0.5


def test_an_exported_model_is_judged_as_the_network_is():
    """`Report.measure` of what `predict` gives: the metrics of `Model.metrics`."""
    config = tiny_config(loss__name="ordinal", data__target="deciles", loss__votes=1.0)
    dataset = loader.load_dataset(config)
    task, report = find_task(config, dataset.info), perception.make_report(config, dataset.info)
    rows = [dataset.splits["val"].read(i) for i in range(6)]
    batch = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    batch["valid"] = np.ones(6, np.float32)
    variables = jax.jit(task.model.init)(jax.random.key(0), batch)
    own = jax.jit(task.model.metrics)(variables, batch, jax.random.key(0))
    outputs = jax.device_get(jax.jit(task.model.predict)(variables, batch["image"]))
    judged = report.measure(outputs, batch)
    a, b = (report.metrics(Measured({}, jax.device_get(m.rows)), {}) for m in (own, judged))
    assert a.keys() == b.keys() and a == pytest.approx(b, rel=1e-5, abs=1e-5)


def test_files_of_photos(tmp_path):
    answer = make_predictor(pictures=True)
    names, records = ("41.9_12.5_y_Roma.png", "plain.png"), []
    for name in names:
        prediction = predicted(answer)
        entries = answer.write(photo(50, 70), prediction, tmp_path / "in" / name, tmp_path / "out")
        records.append({"file": str(tmp_path / "in" / name), **prediction.record, **entries})
    assert (records[0]["latitude"], records[0]["longitude"]) == (41.9, 12.5)
    assert "latitude" not in records[1]
    card = np.asarray(Image.open(records[0]["picture"]))
    assert card.shape == answer.render(photo(50, 70), prediction).shape
    answer.collect(records, tmp_path / "out")
    lines = list(csv.DictReader((tmp_path / "out" / "scores.csv").read_text().splitlines()))
    assert [line["file"] for line in lines] == list(names)
    assert lines[0]["lively"] == "7.0000" and lines[0]["wealthy_uncertainty"] == "0.5000"
    (point,) = json.loads((tmp_path / "out" / "scores.geojson").read_text())["features"]
    assert point["geometry"]["coordinates"] == [12.5, 41.9]
    assert point["properties"]["file"] == names[0]
    assert "Roma" in (tmp_path / "out" / "map.html").read_text()


def test_no_picture_is_written_by_default(tmp_path):
    answer = make_predictor()
    assert answer.write(photo(9, 9), predicted(answer), tmp_path / "a.png", tmp_path / "out") == {}
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"map_tiles": "https://tiles/{z}/{x}.png"}, "lacks {y}: give an address"),
    ],
)
def test_options_that_cannot_work(change, message):
    with pytest.raises(UserError, match=message):
        make_predictor(**change)


def test_neither_jax_nor_flax_is_needed():
    code = f"""
import sys
import numpy as np
from configs import perception as config
from jaxvision.tasks import perception
info = {INFO!r}
answer = perception.make_predictor(config.get_config(), info)
prepared = answer.prepare(np.zeros((50, 60, 3), np.uint8))
scores = np.ones((1, 4), np.float32)
prediction = answer.decode({{"score": scores, "spread": scores}}, prepared.context, {{}})
answer.render(np.zeros((50, 60, 3), np.uint8), prediction)
assert not {{"jax", "flax"}} & set(sys.modules), "imported"
perception.make_report(config.get_config(), info)
assert "flax" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
