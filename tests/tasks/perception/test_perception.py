"""Scores of photos: metrics against scipy, losses against their formulas, runs end to end."""

import csv
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from PIL import Image
from scipy import stats
from sklearn import metrics as sk

from configs import perception as perception_config
from jaxvision import evaluate, losses, predict, train
from jaxvision.config.fields import PERCEPTION
from jaxvision.errors import UserError
from jaxvision.input_pipeline import loader, score_scale
from jaxvision.input_pipeline.dataset import Dataset, Split, training_split
from jaxvision.models.perception import Head, Scorer
from jaxvision.sharding import make_mesh
from jaxvision.task import Measured
from jaxvision.tasks import find_task
from jaxvision.tasks.perception import calibration, places
from jaxvision.tasks.perception import metrics as metrics_perception
from jaxvision.tasks.perception import report as perception_report
from jaxvision.tasks.perception.attributes import match_attributes
from tests.input_pipeline.readers.test_perception import NAMES, place_pulse
from tests.tiny import overridden

ATTRIBUTES = ("a", "b", "c")


def tiny_config(**overrides):
    """configs/perception.py on a few built-in scenes of 40 pixels and a tiny encoder."""
    config = perception_config.get_config()
    config.batch_size = 4
    config.data.image_size, config.data.crop_size = 40, 32
    config.data.synthetic_examples = dict(train=12, val=6, test=6)
    config.data.synthetic_pairs = 1.0
    config.model.encoder.name = "vgg_tiny"
    config.model.encoder.weights = ""
    config.model.hidden, config.model.heads = (8, 8), 1
    config.train.steps = 6
    config.eval.figure_rows = 2
    config.eval.every_epochs = 2.0
    config.log.every_steps = 2
    return overridden(config, overrides)


def open_task(**overrides):
    """(task, random variables, a training batch of features: what the encoder is spared)."""
    config = tiny_config(**overrides)
    dataset = loader.load_dataset(config)
    task = find_task(config, dataset.info)
    split = training_split(dataset)
    rows = [split.read(i) for i in range(4)]
    batch = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    shapes = jax.eval_shape(task.model.init, jax.random.key(0), batch)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda s: 0.3 * rng.normal(size=s.shape).astype(s.dtype), shapes)
    heads = variables["batch_stats"]
    width = heads["heads_0"]["features_bn"]["mean"].size
    features = rng.normal(size=(*batch.pop("image").shape[:-3], 1, width)).astype(np.float32)
    for i in range(config.model.heads):  # as if all training batches were this one
        flat = features.reshape(-1, width)
        heads[f"heads_{i}"]["features_bn"] = {"mean": flat.mean(0), "var": flat.var(0)}
    return task, variables, {**batch, "features": features}


def loss_and_gradient(task, variables):
    """Jitted: (params, batch) -> (loss, gradient)."""
    extra = {k: v for k, v in variables.items() if k != "params"}
    key = jax.random.key(1)
    return jax.jit(jax.value_and_grad(lambda p, batch: task.model.loss(p, extra, batch, key)[0]))


def random_scores(seed=0, photos=60):
    rng = np.random.default_rng(seed)
    raw = rng.normal(5, 2, (photos, 3)).astype(np.float32)
    raw[rng.random(raw.shape) < 0.1] = np.nan
    scale = score_scale.measure_scale(raw, ATTRIBUTES, "range")
    target = score_scale.to_target(scale, raw)
    return scale, target, target.round() * 0.7 + rng.normal(2, 0.8, raw.shape)


def test_metrics_equal_scipy_and_scikit_learn():
    scale, target, predicted = random_scores()
    predicted = np.where(np.isfinite(predicted), predicted, 3.0)
    values = metrics_perception.summarize(scale, target, predicted, np.ones_like(target))
    for a, name in enumerate(ATTRIBUTES):
        known = np.isfinite(target[:, a])
        x, y = target[known, a], predicted[known, a]
        expected = {
            "pearson": stats.pearsonr(x, y)[0],
            "spearman": stats.spearmanr(x, y)[0],
            "r2": sk.r2_score(x, y),
            "mae": sk.mean_absolute_error(x, y),
            "rmse": sk.root_mean_squared_error(x, y),
        }
        edges = np.quantile(x, np.arange(1, 10) / 10)
        near = np.abs(np.digitize(x, edges, right=True) - np.digitize(y, edges, right=True)) <= 1
        expected["within_one_decile"] = near.mean()
        for metric, value in expected.items():
            assert values[f"{metric}_{name}"] == pytest.approx(
                value, abs=1e-9 if metric == "spearman" else 2e-3
            ), (metric, name)
    means = [values[f"pearson_{name}"] for name in ATTRIBUTES]
    assert values["pearson"] == pytest.approx(np.mean(means))


def test_bootstrap_covers_what_fisher_says():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 1))
    y = 0.6 * x + 0.8 * rng.normal(size=(400, 1))
    low, high = metrics_perception.bootstrap(x, y, np.ones_like(x))
    centre = np.arctanh(stats.pearsonr(x[:, 0], y[:, 0])[0])
    expected = np.tanh([centre - 1.96 / 397**0.5, centre + 1.96 / 397**0.5])
    assert [low["pearson"][0], high["pearson"][0]] == pytest.approx(expected, abs=0.025)


def test_constant_predictions_are_no_correlation_and_no_error():
    scale, target, _ = random_scores()
    values = metrics_perception.summarize(scale, target, np.full(target.shape, 5.0), target * 0 + 1)
    assert [values["pearson"], values["spearman"]] == pytest.approx([0, 0], abs=1e-6)
    assert all(np.isfinite(value) for value in values.values())


def test_votes_are_judged_by_their_winner():
    ballots = np.full((3, 2, 3), -1)
    ballots[0, 0] = (12, 0, 0)  # photo 10 beats 12
    ballots[0, 1] = (11, 1, 2)  # equal: not counted
    ballots[1, 0] = (10, 1, 1)  # 10 beats 11
    ballots[2, 0] = (11, 0, 0)  # 12 beats 11
    predicted = np.array([[3.0, 1.0], [2.0, 4.0], [1.0, 0.0]])
    accuracy = metrics_perception.vote_accuracy(
        ballots, np.array([10, 11, 12]), predicted, ("a", "b")
    )
    assert accuracy == {
        "pairwise_accuracy": pytest.approx(1 / 3),
        "pairwise_accuracy_a": 0.5,
        "pairwise_accuracy_b": 0.0,
    }


@pytest.mark.parametrize("target", PERCEPTION["data.target"].choices)
def test_targets_are_on_the_scale_of_the_training_split(target):
    raw = np.random.default_rng(0).gamma(2.0, size=(500, 2)).astype(np.float32)
    raw[3, 1] = np.nan
    scale = score_scale.measure_scale(raw, ("a", "b"), target)
    targets = score_scale.to_target(scale, raw)
    assert np.isnan(targets[3, 1]) and np.nanmin(targets) == 1 and np.nanmax(targets) == 10
    deciles = score_scale.to_decile(scale, targets)
    counts = np.unique(deciles[:, 0], return_counts=True)[1]
    assert len(counts) == 10 and counts.min() >= 48
    again = score_scale.from_info(json.loads(json.dumps(score_scale.to_info(scale))))
    np.testing.assert_allclose(score_scale.to_target(again, raw), targets, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(lambda r: score_scale.to_target(scale, r))(raw), targets,
                               rtol=1e-5)  # fmt: skip


def test_losses_follow_their_formulas():
    rng = np.random.default_rng(0)
    value, log_spread, target = rng.normal(size=(3, 5, 2))
    expected = -stats.norm.logpdf(target, value, np.exp(log_spread)) - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(losses.gaussian_nll(value, log_spread, target), expected, rtol=1e-4)
    # Davidson's model: win, lose and draw in the proportion p : q : v sqrt(p q).
    p, q, v = np.exp(0.4), np.exp(-0.3), np.exp(0.2)
    shares = np.array([p, q, v * np.sqrt(p * q)]) / (p + q + v * np.sqrt(p * q))
    counts = np.array([3.0, 1.0, 2.0])
    surprise = losses.paired_comparison(jnp.float32([0.7]), jnp.float32([0.2]), counts[None])
    assert surprise[0] == pytest.approx(-(counts * np.log(shares)).sum(), rel=1e-5)
    thresholds = np.array([[-1.0, 0.0, 2.0]])
    above = 1 / (1 + np.exp(-(0.5 - thresholds[0])))
    expected = -(np.log(above[0]) + np.log(above[1]) + np.log(1 - above[2])) / 3
    errors = losses.ordinal(jnp.float32([[0.5]]), thresholds, jnp.float32([[3.0]]))
    assert errors[0, 0] == pytest.approx(expected, rel=1e-5)
    assert losses.huber(jnp.float32(3.0), 0.0) == 2.5


@pytest.mark.parametrize("name", ["mse", "gaussian", "ordinal"])
def test_missing_scores_and_padded_rows_count_nothing(name):
    target = "deciles" if name == "ordinal" else "range"
    task, variables, batch = open_task(loss__name=name, data__target=target)
    judge = loss_and_gradient(task, variables)
    batch = {**batch, "score": np.full_like(batch["score"], np.nan)}
    loss, gradient = judge(variables["params"], batch)
    assert loss == pytest.approx(0, abs=1e-6)
    assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(gradient))
    batch["score"][0, 0] = 25.0
    loss, gradient = judge(variables["params"], batch)
    assert np.isfinite(loss) and abs(loss) > 1e-3
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_the_order_of_a_pair_does_not_matter():
    task, variables, batch = open_task(loss__votes=1.0, loss__scores=0.0, model__dropout=0.0)
    assert batch["features"].shape[:3] == (4, 2, 1)
    swapped = {
        "features": batch["features"][:, ::-1],
        "score": batch["score"][:, ::-1],
        "votes": batch["votes"][..., [1, 0, 2]],
    }
    judge = loss_and_gradient(task, variables)
    (first, gradient), (second, _) = (judge(variables["params"], b) for b in (batch, swapped))
    assert first == pytest.approx(float(second), rel=1e-5) and first > 0.1
    assert (
        np.abs(gradient["vote_log_slope"]).max() > 0 and np.abs(gradient["vote_log_tie"]).max() > 0
    )


def test_thresholds_start_at_deciles_and_stay_in_order():
    head = Head(attributes=2, hidden=(4,))
    model = Scorer(Features(), [head], thresholds=True)
    variables = model.init(jax.random.key(0), jnp.zeros((1, 8)), train=False)
    thresholds = model.apply(variables, method="decile_thresholds")
    expected = np.tile(np.arange(1, 10) / 10, (2, 1))
    np.testing.assert_allclose(1 / (1 + np.exp(-thresholds)), expected, rtol=1e-4)
    moved = jax.tree.map(lambda p: p - 5.0, variables)
    assert (np.diff(model.apply(moved, method="decile_thresholds")) > 0).all()


class Features(nn.Module):
    """An encoder of what is features already."""

    def __call__(self, images, train):
        return {1: images[:, None, None]}


def test_deciles_are_predicted_with_their_spread():
    task, variables, batch = open_task(loss__name="ordinal", data__target="deciles")
    params = {**variables["params"]}
    # No photo differs from another, and the thresholds are far apart: all say 'above 5, not 6'.
    for head in [name for name in params if name.startswith("heads_")]:
        params[head] = jax.tree.map(np.zeros_like, params[head])
    steps = np.full((4, 9), 20.0, np.float32)
    steps[:, 0] = -90
    params["decile_steps"] = steps.ravel()
    rows = task.model.metrics({**variables, "params": params}, batch, jax.random.key(0)).rows
    np.testing.assert_allclose(rows["score"], 6.0, atol=1e-3)
    assert rows["spread"].max() < 0.05
    params["decile_steps"] = np.zeros(36, np.float32)
    rows = task.model.metrics({**variables, "params": params}, batch, jax.random.key(0)).rows
    assert rows["spread"].min() > 1


def test_cached_features_give_the_scores_of_the_images():
    config = tiny_config(data__cached_views=2, model__encoder__freeze=True)
    dataset = loader.load_dataset(config)
    task, split = find_task(config, dataset.info), dataset.splits["train"]
    rows = [split.read(i) for i in range(4)]
    batch = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    variables = jax.jit(task.model.init)(jax.random.key(0), batch)
    condense, metrics = jax.jit(task.model.condense), jax.jit(task.model.metrics)
    condensed = condense(variables, batch)
    assert condensed["features"].shape == (4, 2, 44) and "image" not in condensed
    valid = {"valid": np.ones(4, np.float32)}
    a, b = (
        metrics(variables, {**rows, **valid}, jax.random.key(0)).rows["score"]
        for rows in (batch, condensed)
    )
    np.testing.assert_allclose(a, b, rtol=1e-5)
    mirrored = {**batch, "image": batch["image"][:, :, ::-1]}
    again = condense(variables, mirrored)
    np.testing.assert_allclose(again["features"][:, 0], condensed["features"][:, 1], rtol=1e-4)
    drawn = {
        np.asarray(task.model.augment(jax.random.key(i), condensed)["features"])[0].tobytes()
        for i in range(12)
    }
    assert drawn == {np.asarray(condensed["features"][0, v : v + 1]).tobytes() for v in range(2)}


def test_heads_begin_differently_and_their_mean_counts():
    one = open_task(model__heads=1)
    task, variables, batch = open_task(model__heads=3)
    batch = task.model.condense(variables, batch) if "image" in batch else batch
    heads = [variables["params"][f"heads_{i}"] for i in range(3)]
    kernels = [np.asarray(head["hidden0"]["kernel"]) for head in heads]
    assert kernels[0].std() > 0 and not np.allclose(kernels[0], kernels[1])
    rows = task.model.metrics(variables, batch, jax.random.key(0)).rows
    alone = []
    for i in range(3):
        own = {
            kind: {
                **{n: t for n, t in tree.items() if "heads" not in n},
                "heads_0": tree[f"heads_{i}"],
            }
            for kind, tree in variables.items()
        }
        alone.append(one[0].model.metrics(own, batch, jax.random.key(0)).rows)
    scores = np.stack([row["score"] for row in alone])
    np.testing.assert_allclose(rows["score"], scores.mean(0), rtol=1e-5)
    variance = np.stack([row["spread"] for row in alone]) ** 2
    expected = np.sqrt(variance.mean(0) + scores.var(0))
    np.testing.assert_allclose(rows["spread"], expected, rtol=1e-5)
    assert (rows["spread"] > alone[0]["spread"]).all()


def test_fit_scales_votes_and_makes_spreads_right():
    scale, target, _ = random_scores()
    rng = np.random.default_rng(1)
    target = np.where(np.isfinite(target), target, 5.0)
    value = (target - 4) / 3 + 0.1 * rng.normal(size=target.shape)
    rows = {"target": target, "score": value, "spread": np.ones_like(value)}
    fitted = calibration.fit(scale, True, Measured({}, rows))
    score, spread = calibration.calibrate(scale, value, rows["spread"], fitted)
    error = score - target
    assert np.abs(error.mean(axis=0)).max() < 1e-6
    np.testing.assert_allclose(spread[0], np.sqrt((error**2).mean(axis=0)), rtol=1e-6)
    plain = calibration.fit(scale, False, Measured({}, rows))
    assert plain["slope_a"] == 1 and plain["offset_a"] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data__cached_views": 2}, "needs an encoder that is frozen as a whole"),
        ({"data__crop_size": 20}, "a crop of 20 pixels is less than 32"),
        ({"data__crop_size": 64}, "crop_size=64 is larger than the photos of 40"),
    ],
)
def test_contradictions_are_named(change, message):
    with pytest.raises(UserError, match=message):
        open_task(**change)


def test_cached_features_need_resident_data():
    config = tiny_config(data__resident="false")
    feed = loader.open_feed(loader.load_dataset(config), "val", config, make_mesh({}))
    with pytest.raises(UserError, match="set data.resident=true"):
        loader.condensed(feed, None, 4)


def test_a_resident_composite_gives_the_batches_of_a_streaming_one():
    feeds = []
    for resident in ("true", "false"):
        config = tiny_config(data__resident=resident, loss__votes=1.0)
        feeds.append(loader.open_training_feed(loader.load_dataset(config), config, make_mesh({})))
    assert feeds[0].arrays.pool["image"].shape[0] == 12  # each photo once, not once a pair
    batches = [list(loader.train_batches(feed, 0, 4, 1, 4)) for feed in feeds]
    for a, b in zip(*batches, strict=True):
        assert a.keys() == b.keys() == {"image", "score", "votes"}
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


def test_extremes_of_few_photos_are_those_photos():
    scale, _, _ = random_scores()
    rows = {"score": np.array([[3.0, 1, 2], [5.0, 0, 2], [1.0, 2, 2]])}
    extremes = perception_report.highlights(scale, 6, Measured({}, rows), {})
    assert extremes["extremes_a"].tolist() == [1, 0, 2] and extremes["extremes_b"].tolist() == [
        2,
        0,
        1,
    ]
    one = perception_report.highlights(scale, 2, Measured({}, {"score": rows["score"][:1]}), {})
    assert one["extremes_a"].tolist() == [0]


def save_weights(folder):
    """Random weights of the tiny encoder, as a file."""
    from jaxvision.models import encoders, pretrained

    model = encoders.make("vgg_tiny")
    variables = model.init(jax.random.key(3), jnp.zeros((1, 32, 32, 3)), train=False)
    path = folder / "encoder.safetensors"
    pretrained.save(path, "vgg_tiny", model, variables, "random, for a test")
    return str(path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(workdir, config) of a run on scores and votes, from a frozen encoder's cached features."""
    folder = tmp_path_factory.mktemp("perception")
    config = tiny_config(
        loss__votes=1.0, model__encoder__weights=save_weights(folder), data__cached_views=2,
        loss__name="gaussian", model__heads=2, train__steps=8,
        data__attributes=("safe", "wealthy"),
    )  # fmt: skip
    train.train(config, str(folder / "run"))
    return folder / "run", config


def test_a_run_leaves_metrics_and_figures(finished):
    workdir, _ = finished
    result = json.loads((workdir / "evaluation.json").read_text())
    names = {"pearson", "pearson_safe", "within_one_decile_wealthy", "pairwise_accuracy",
             "pearson_low", "mae", "r2_safe", "spearman_safe", "coverage_90"}  # fmt: skip
    assert names <= result["metrics"].keys() and result["examples"] == 6
    logged = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert any("train/vote_loss" in line and "train/score_loss" in line for line in logged)
    figures = {path.name.rpartition("_")[0] for path in (workdir / "figures").iterdir()}
    assert {"predictions", "predicted_and_true", "histograms", "map", "test_map"} <= figures
    assert {f"extremes_{name}" for name in ("safe", "wealthy")} <= figures


def test_evaluation_of_a_checkpoint_gives_the_test_metrics_again(finished, capsys):
    workdir, config = finished
    before = json.loads((workdir / "evaluation.json").read_text())["metrics"]
    evaluate.evaluate_workdir(config, str(workdir), "test")
    after = json.loads((workdir / "evaluation.json").read_text())["metrics"]
    assert after == pytest.approx(before, rel=1e-4)


def test_predict_writes_a_table_geojson_and_maps(finished, tmp_path):
    workdir, config = finished
    photos = tmp_path / "photos"
    photos.mkdir()
    rng = np.random.default_rng(0)
    for name in (
        "51.5_-2.6_x</script>_Avon.jpg".replace("/", "-"),
        "41.9_12.5_y_Corva.png",
        "plain.png",
    ):
        pixels = rng.integers(0, 255, (50, 70, 3), np.uint8)
        Image.fromarray(pixels).save(photos / name)
    (photos / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(UserError, match="1 of 4 files could not be read: cut.jpg"):
        predict.predict_files(config, str(workdir), str(photos), str(tmp_path / "out"))
    rows = list(csv.DictReader((tmp_path / "out" / "scores.csv").read_text().splitlines()))
    columns = {"file", "safe", "wealthy", "safe_uncertainty", "wealthy_uncertainty"}
    assert len(rows) == 3 and set(rows[0]) == columns
    assert all(float(row["safe_uncertainty"]) > 0 for row in rows)
    points = json.loads((tmp_path / "out" / "scores.geojson").read_text())["features"]
    assert [p["geometry"]["coordinates"] for p in points] == [[12.5, 41.9], [-2.6, 51.5]]
    assert float(rows[0]["safe"]) == pytest.approx(points[0]["properties"]["safe"], abs=1e-4)
    page = (tmp_path / "out" / "map.html").read_text()
    assert "41.9_12.5_y_Corva.png" in page and "x<" not in page and "http" not in page
    assert Image.open(tmp_path / "out" / "map.png").size[0] > 300


def test_place_pulse_with_a_city_held_out_from_files_to_map(tmp_path):
    place_pulse(tmp_path / "pulse")
    config = tiny_config(
        data__path=str(tmp_path / "pulse"), data__split="city", data__test_cities=("Corva",),
        train__steps=2,
    )  # fmt: skip
    train.train(config, str(tmp_path / "run"))
    held_out = {name for name in NAMES if name.endswith("_Corva")}
    result = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert result["examples"] == len(held_out) > 0
    assert {"pearson_safe", "pearson_wealthy"} <= result["metrics"].keys()
    photos, output = tmp_path / "pulse" / "images", tmp_path / "out"
    predict.predict_files(config, str(tmp_path / "run"), str(photos), str(output))
    points = json.loads((output / "scores.geojson").read_text())["features"]
    placed = {p["properties"]["file"]: p["geometry"]["coordinates"] for p in points}
    for name in NAMES:
        latitude, longitude = map(float, name.split("_")[:2])
        assert placed[f"{name}.JPG"] == pytest.approx([longitude, latitude])


def scored(attributes, scores, ballots=None):
    """A data set of photos with these scores [N, A]."""

    def read(row):
        example = {"score": np.asarray(scores[row], np.float32)}
        return example if ballots is None else {**example, "ballots": np.asarray(ballots[row])}

    split = Split([str(i) for i in range(len(scores))], read, len(scores))
    return Dataset("a csv", {"test": split}, [], {"attributes": attributes}, "key")


def test_attributes_of_another_data_set_are_matched_by_name():
    scores, ballots = [[1.0, 2.0, 3.0]], [[[7, 0, 1], [7, 2, 0], [-1, -1, -1]]]
    other = scored(["calm", "safe", "lively"], scores, ballots)
    matched = match_attributes(other, ("safe", "wealthy", "lively"))
    row = matched.splits["test"].read(0)
    np.testing.assert_array_equal(row["score"], [2.0, np.nan, 3.0])
    np.testing.assert_array_equal(row["ballots"], [[-1, -1, -1], [7, 2, 0], [-1, -1, -1]])
    assert "not scored here, so not judged: wealthy" in matched.notes
    assert "scored here, but not known to the model: calm" in matched.notes
    assert match_attributes(other, ["calm", "safe", "lively"]) is other


def test_another_data_sets_attributes_are_refused():
    with pytest.raises(UserError, match="scores green, none of which the model knows; it knows"):
        match_attributes(scored(["green"], [[1.0]]), ("safe", "lively"))


def test_fine_tuning_learns_what_was_drawn(tmp_path):
    """Dark and light scenes, from scratch: more than chance after a few dozen steps."""
    config = tiny_config(
        data__synthetic_examples=dict(train=96, val=40, test=0), batch_size=8, train__steps=60,
        model__dropout=0.0, optimizer__learning_rate=3e-3, eval__every_epochs=5.0,
        data__attributes=("safe",),
    )  # fmt: skip
    train.train(config, str(tmp_path))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert max(line.get("val/pearson_safe", 0) for line in lines) > 0.4


def test_far_places_are_other_groups():
    here = np.array([[51.1, -2.9], [51.9, -2.1], [48.0, 15.0], [51.95, -1.95]])
    groups = places.group_places(here)
    assert [sorted(group.tolist()) for group in groups] == [[0, 1, 3], [2]]


@pytest.mark.parametrize("name", ["resnet_tiny", "mobilenet_v2_tiny"])
def test_every_family_of_encoders_scores_and_shows_where_it_looks(name):
    """Traced alone: nothing is compiled."""
    config = tiny_config(model__encoder__name=name)
    dataset = loader.load_dataset(config)
    task = find_task(config, dataset.info)
    row = dataset.splits["val"].read(0)
    batch = {key: value[None] for key, value in row.items()}
    variables = jax.eval_shape(task.model.init, jax.random.key(0), batch)
    outputs = jax.eval_shape(task.model.predict, variables, batch["image"])
    assert outputs["score"].shape == outputs["spread"].shape == (1, 4)
    assert task.model.input_shape == (40, 40, 3)
    attend = task.report.draw.args[2]
    assert jax.eval_shape(attend, variables, batch["image"], 0).shape == (1, 32, 32)
