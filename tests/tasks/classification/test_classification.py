"""The classification task: a run from class folders to predictions, and what it must not do."""

import json
import subprocess
import sys
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import app
from flax import linen as nn
from PIL import Image

from configs import fer, scenes
from jaxvision import batching, evaluate, logs, losses, predict, train, trained
from jaxvision.errors import UserError
from jaxvision.input_pipeline import loader
from jaxvision.logs import wandb_log
from jaxvision.models import encoders, pretrained
from jaxvision.task import Measured
from jaxvision.tasks import classification
from jaxvision.tasks.classification import criterion, report
from jaxvision.tasks.classification import model as model_lib
from jaxvision.tasks.classification import predictor as predictor_lib
from jaxvision.tasks.classification.faces import Box, make_detector
from jaxvision.visualize.film import write_film

ROOT = Path(__file__).parents[3]
CLASSES = ("bright", "dark", "striped")
SIZE = 16


def picture(name, seed):
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 60, (SIZE, SIZE))
    level = {"bright": 180, "dark": 10, "striped": 90}[name]
    stripes = 100 * (np.arange(SIZE) // 2 % 2)[:, None] if name == "striped" else 0
    return Image.fromarray(
        (noise + level + stripes - (50 if name == "striped" else 0)).astype(np.uint8)
    )


def write_folders(path, count, classes=CLASSES):
    for c, name in enumerate(classes):
        (path / name).mkdir(parents=True)
        for i in range(count):
            picture(name, 1000 * c + i).save(path / name / f"{i:03d}.png")
    return path


def tiny_config(**fields):
    """configs/fer.py on 16 pixel pictures and a network of 500 parameters."""
    config = fer.get_config()
    config.model.encoder.name = "cnn_tiny"
    config.model.dropout = 0.0
    config.data.image_size = SIZE
    config.batch_size = config.eval.batch_size = 16
    config.train.steps = 40
    config.optimizer.learning_rate = 2e-2
    config.optimizer.warmup_steps = 5
    config.augment.update(erase=0.25, mixup=0.2, cutmix=0.2)
    config.eval.every_epochs = 100.0
    config.eval.figure_rows = 3
    config.predict.batch_size = 4
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in fields.items()})
    return config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(config, workdir) of a trained run, with all views and balanced sampling."""
    folder = write_folders(tmp_path_factory.mktemp("data") / "photos", 40)
    workdir = tmp_path_factory.mktemp("run") / "w"
    config = tiny_config(data__path=str(folder), data__crop_size=14, data__balanced=True)
    config.eval.views = "ten_crop"
    train.train(config, str(workdir))
    return config, workdir


def test_a_run_learns_and_reports(run):
    _, workdir = run
    record = json.loads((workdir / "evaluation.json").read_text())
    values = record["metrics"]
    assert values["accuracy"] > 0.8 > values["majority_accuracy"]
    assert values["accuracy_views"] > 0.8 and values["roc_auc"] > 0.8
    assert {"macro_f1", "weighted_recall", "average_precision", "nll", "ece"} <= values.keys()
    assert [row["class"] for row in record["tables"]["classes"]] == list(CLASSES)
    counts = np.array([[row[c] for c in CLASSES] for row in record["tables"]["confusion"]])
    assert counts.sum() == record["examples"] == 12
    assert np.trace(counts) / 12 == pytest.approx(values["accuracy"])
    names = {path.name for path in (workdir / "figures").iterdir()}
    for name in ("predictions_40", "confusion_40", "reliability_40", "classes_40"):
        assert f"{name}.png" in names
    assert {"learning_curves_40.png", "test_confusion_40.png"} <= names


def test_the_temperature_is_kept_with_the_model_and_used(run):
    config, workdir = run
    loaded = trained.load_trained(config, str(workdir))
    temperature = loaded.fitted["temperature"]
    logits = np.array([2.0, 0.0, -1.0])
    regions = predictor_lib.Regions(30, 20, [Box(0, 0, 20, 30, None)])
    decoded = loaded.task.predictor.decode({"logits": logits[None]}, regions, loaded.fitted)
    (face,) = decoded.record["faces"]
    expected = np.exp(logits / temperature) / np.exp(logits / temperature).sum()
    assert face["label"] == "bright" and decoded.record["height"] == 30
    np.testing.assert_allclose(list(face["probabilities"].values()), expected, atol=1e-5)


def test_an_answer_does_not_depend_on_the_pictures_beside_it(run):
    config, workdir = run
    loaded = trained.load_trained(config, str(workdir))
    images = np.random.default_rng(0).integers(0, 256, (8, SIZE, SIZE, 1), np.uint8)
    predict_batch = jax.jit(loaded.task.model.predict)
    together = predict_batch(loaded.variables, images)["logits"]
    for i in (0, 5):
        alone = predict_batch(loaded.variables, images[i : i + 1])["logits"]
        np.testing.assert_allclose(alone[0], together[i], rtol=1e-5, atol=1e-5)


def test_predictions_and_reports_need_neither_flax_nor_jax():
    program = """
import sys
from configs import fer
from jaxvision.tasks import classification
info = {"classes": ["a", "b"], "train_counts": [1, 2], "channels": 1}
predictor = classification.make_predictor(fer.get_config(), info)
import numpy as np
prepared = predictor.prepare(np.zeros((60, 64, 3), np.uint8))
outputs = {"logits": np.array([[0.0, 1.0]])}
assert predictor.decode(outputs, prepared.context, {}).record["faces"][0]["label"] == "b"
assert "jax" not in sys.modules
classification.make_report(fer.get_config(), info)
assert not {"flax", "optax", "orbax", "clu"} & set(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("height, width", [(1, 1), (7, 500), (300, 280)])
def test_pictures_of_any_size_are_answered_in_their_own_pixels(height, width):
    config = tiny_config(predict__faces="never")
    info = {"classes": list(CLASSES), "train_counts": [1, 1, 1], "channels": 1}
    predictor = classification.make_predictor(config, info)
    picture = np.full((height, width, 3), 9, np.uint8)
    prepared = predictor.prepare(picture)
    assert prepared.inputs.shape == (1, SIZE, SIZE, 1)
    prediction = predictor.decode({"logits": np.zeros((1, 3))}, prepared.context, {})
    assert (prediction.record["height"], prediction.record["width"]) == (height, width)
    assert predictor.render(picture, prediction).shape[2] == 3
    assert predictor.describe(prediction.record) == "bright 33%"


def test_a_picture_without_a_face_is_an_answer_too():
    info = {"classes": list(CLASSES), "train_counts": [1, 1, 1], "channels": 1}
    predictor = classification.make_predictor(tiny_config(predict__faces="always"), info)
    picture = np.full((300, 400, 3), 128, np.uint8)
    prepared = predictor.prepare(picture)
    apply = batching.apply_in_batches(lambda x: {}, [("a", prepared.inputs)], 4)
    assert prepared.inputs.shape == (0, SIZE, SIZE, 1) and list(apply) == [("a", {})]
    prediction = predictor.decode({}, prepared.context, {})
    assert prediction.record == {"width": 400, "height": 300, "faces": []}
    assert predictor.describe(prediction.record) == "no face"


def test_other_folders_are_judged_by_name_not_by_number(run, tmp_path):
    """Without 'bright', 'dark' is the folder's first class and still the model's second."""
    config, workdir = run
    folder = write_folders(tmp_path / "some", 6, CLASSES[1:])
    config = type(config)(config.to_dict())
    config.data.path = str(folder)
    config.eval.views = ""
    evaluate.evaluate_workdir(config, str(workdir), "all")
    record = json.loads((workdir / "evaluation.json").read_text())
    assert record["metrics"]["accuracy"] > 0.8
    assert [row["support"] for row in record["tables"]["classes"]] == [0, 6, 6]
    config.data.path = str(write_folders(tmp_path / "odd", 6, CLASSES).rename(tmp_path / "odder"))
    (tmp_path / "odder" / "dark").rename(tmp_path / "odder" / "dim")
    with pytest.raises(UserError, match="class dim, which the model does not know; it knows"):
        evaluate.evaluate_workdir(config, str(workdir), "all")


def test_predict_writes_a_line_a_face_and_a_picture(run, tmp_path):
    config, workdir = run
    photos = tmp_path / "photos"
    photos.mkdir()
    for i, name in enumerate(CLASSES):
        picture(name, 5000 + i).save(photos / f"{name}.png")
    frames = [np.asarray(picture(n, 7).convert("RGB")) for n in ("dark",) * 10 + ("bright",) * 10]
    write_film(photos / "film.mp4", frames, fps=10)
    out = tmp_path / "out"
    predict.predict_files(config, str(workdir), str(photos), str(out))
    records = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    by_stem = {record["file"].rsplit("/")[-1]: record for record in records}
    for name in CLASSES:
        (face,) = by_stem[f"{name}.png"]["faces"]
        assert face["label"] == name and face["box"] == [0, 0, SIZE, SIZE]
        assert sum(face["probabilities"].values()) == pytest.approx(1, abs=1e-4)
        assert Image.open(out / f"{name}_faces.jpg").size == (256, 256)
    film = by_stem["film.mp4"]
    assert [(f["frame"], f["label"]) for f in film["faces"]] == [
        (0, "dark"),
        (5, "dark"),
        (10, "bright"),
        (15, "bright"),
    ]
    assert (out / "film_faces.mp4").stat().st_size > 0
    lines = (out / "faces.jsonl").read_text().splitlines()
    assert len(lines) == 7 and "label" in json.loads(lines[0])


def test_faces_are_found_in_a_photo_and_cut_out(shared_data):
    """A real face on a plain wall: the cascade finds it, and only it."""
    import tarfile

    with tarfile.open(shared_data / "faces" / "fer2013.tar.gz") as archive:
        members = (m for m in archive if "happy" in m.name and m.name.endswith(".jpg"))
        face = Image.open(archive.extractfile(next(members))).resize((160, 160))
    wall = Image.new("RGB", (640, 480), (120, 130, 140))
    wall.paste(face, (300, 200))
    boxes = make_detector("")(np.asarray(wall))
    assert len(boxes) == 1
    box = boxes[0]
    assert abs(box.x + box.width / 2 - 380) < 40 and abs(box.y + box.height / 2 - 280) < 40


def test_faces_at_the_border_are_cut_inside_the_picture():
    pixels = np.zeros((60, 100, 3), np.uint8)
    cut = predictor_lib.cut_face(pixels, Box(90, 50, 10, 10, None), 0.5)
    assert cut.shape == (20, 20, 3)
    whole = predictor_lib.cut_face(pixels, Box(0, 0, 100, 60, None), 0.5)
    assert whole.shape == pixels.shape


@pytest.mark.parametrize("size", [(1, 3000), (3000, 1)])
def test_a_strip_of_a_picture_has_no_faces(size):
    assert make_detector("")(np.zeros((*size, 3), np.uint8)) == []


def test_a_detector_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="predict.detector='no.onnx' does not exist"):
        make_detector("no.onnx")
    path = tmp_path / "other.onnx"
    path.write_bytes(b"not a network")
    with pytest.raises(UserError, match="is not YuNet's .onnx file"):
        make_detector(str(path))


def test_the_loss_weights_classes_smooths_focuses_and_shares():
    logits = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    labels, share = np.array([0, 1, 2, 0]), np.array([1, 0.5, 1, 0.25], np.float32)
    log_p = np.asarray(jax.nn.log_softmax(logits))

    class Model:
        def apply(self, *args, **kwargs):
            return jnp.asarray(logits), {}

    def loss(weights, **options):
        config = tiny_config()
        config.loss.update(options)
        batch = {"image": np.zeros((4, 8, 8, 1)), "label": labels, "share": share}
        return float(model_lib._loss(Model(), config.loss, weights, {}, {}, batch, None)[0])

    def expected(weights, per_row):
        other = np.roll(labels, -1)
        rows = share * weights[labels] * per_row(labels)
        return np.mean(rows + (1 - share) * weights[other] * per_row(other))

    def entropy(of):
        return -log_p[np.arange(4), of]

    ones, some = np.ones(3, np.float32), np.array([2, 1, 0.5], np.float32)
    assert loss(some) == pytest.approx(expected(some, entropy), rel=1e-5)
    smoothed = expected(ones, lambda of: 0.9 * entropy(of) - 0.1 * log_p.mean(1))
    assert loss(ones, label_smoothing=0.1) == pytest.approx(smoothed, rel=1e-5)
    focal = expected(ones, lambda of: (1 - np.exp(-entropy(of))) ** 2 * entropy(of))
    assert loss(ones, name="focal", focal_gamma=2.0) == pytest.approx(focal, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_the_focal_loss_has_a_gradient_where_the_answer_is_certain(gamma):
    logits = jnp.array([[200.0, 0.0], [0.0, 0.0]])
    gradient = jax.grad(
        lambda x: losses.class_cross_entropy(x, jnp.array([0, 1]), focal_gamma=gamma).sum()
    )(logits)
    assert np.isfinite(gradient).all() and (np.asarray(gradient[1]) != 0).any()


def test_class_weights_have_mean_one_over_the_rows():
    counts = [90, 9, 1]
    for kind in criterion.CLASS_WEIGHTS:
        weights = criterion.class_weights(kind, counts)
        assert weights @ np.array(counts) / 100 == pytest.approx(1, rel=1e-5)
    assert weights.argmax() == 2
    balanced = criterion.class_weights("balanced", counts) * counts
    np.testing.assert_allclose(balanced, balanced[0], rtol=1e-5)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"model__encoder__name": "resnet"}, "no encoder is called 'resnet'"),
        ({"model__head_attention": "cbma"}, "no attention is called 'cbma'"),
        ({"model__encoder__name": "vgg16", "model__block_attention": "se"}, "VGG has no residual"),
    ],
)
def test_options_that_cannot_work_are_named(fields, message):
    info = {"classes": list(CLASSES), "train_counts": [1, 1, 1], "channels": 1}
    with pytest.raises(UserError, match=message):
        classification.make(tiny_config(**fields), info)


@pytest.mark.parametrize("variant", [*fer.VARIANTS, "vgg_face", "efficientnet_b0_imagenet"])
def test_every_variant_is_a_network(variant):
    config = fer.get_config(variant)
    _, model = model_lib.make_network(config, 7)
    side = config.data.crop_size or config.data.image_size
    images = jnp.zeros((1, side, side, 1))
    out = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), images, train=False)[0])
    assert out.shape == (1, 7) and out.dtype == jnp.float32


@pytest.mark.parametrize("name", encoders.CLASSIFIERS)
def test_grad_cam_has_a_map_with_places_at_faces_of_48_pixels(name):
    """A map of one place would colour every picture evenly."""
    encoder = encoders.make(name, encoders.CLASSIFIERS, num_classes=0)
    channels = 1 if encoder.preprocessing == "centred" else 3
    inputs = []

    def watch(following, arguments, keywords, context):
        if context.module.path == (encoder.cam_layer,):
            inputs.append(arguments[0].shape)
        return following(*arguments, **keywords)

    with nn.intercept_methods(watch):
        images = jax.ShapeDtypeStruct((1, 48, 48, channels), jnp.float32)
        jax.eval_shape(lambda x: encoder.init(jax.random.key(0), x, train=False), images)
    ((_, height, width, _),) = inputs
    assert height > 1 and width > 1


@pytest.mark.parametrize("remat", [False, True])
def test_the_heat_of_a_prediction_differs_from_place_to_place(remat):
    config = tiny_config(model__encoder__name="cnn5", model__remat=remat, data__image_size=48)
    info = {"classes": list(CLASSES), "train_counts": [1, 1, 1], "channels": 1}
    task = classification.make(config, info)
    images = np.zeros((2, 48, 48, 1), np.uint8)
    images[0, 8:24, 8:24] = np.random.default_rng(0).integers(0, 255, (16, 16, 1))
    batch = {"image": images, "label": np.zeros(2, np.int32)}
    variables = jax.jit(task.model.init)(jax.random.key(1), batch)
    heat = model_lib.make_heat(model_lib.make_network(config, 3)[1], 48)(variables, images)
    heat = np.asarray(heat[0])
    assert heat.shape == (48, 48) and heat.max() == pytest.approx(1)
    assert heat.min() < 0.9, "the same heat at every place"
    if not remat:
        drawn = task.report.draw(variables, batch, jax.random.key(0), {})["predictions"]
        assert drawn.ndim == 3 and drawn.shape[2] == 3


def test_images_that_a_network_pools_away_are_refused():
    _, model = model_lib.make_network(fer.get_config("cnn5"), 7)
    with pytest.raises(UserError, match="too small for this network"):
        jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 24, 24, 1)), False))


def test_unknown_variants_are_named():
    with pytest.raises(UserError, match="resnet19 is unknown: use one of cnn4"):
        fer.get_config("resnet19")


def test_scenes_have_the_same_task_and_built_in_data():
    config = scenes.get_config("mobilenet_v2")
    config.data.synthetic_examples = dict(train=10, val=5, test=5)
    dataset = loader.load_dataset(config)
    row = dataset.splits["train"].read(6)
    assert row["image"].shape == (256, 256, 3) and row["label"] == 1
    logits = np.eye(7)[[0, 1, 2]] + np.arange(7) * 0.01
    rows = {"logits": logits, "label": np.array([0, 1, 0])}
    values = report.summarize(0, Measured({"loss": 1.0, "rows": 3.0}, rows), {})
    assert values["accuracy"] == pytest.approx(2 / 3) and values["top5_accuracy"] < 1


@pytest.mark.parametrize("name", ["cnn4", "resnet18_small"])
def test_the_pytorch_counterpart_has_our_parameters_and_outputs(name):
    torch = pytest.importorskip("torch")
    from benchmarks import classifier_torch

    config = fer.get_config()
    config.model.encoder.name = name
    batch = {"label": np.arange(7)}
    theirs = classifier_torch.make_model(config, batch).eval()
    _, model = model_lib.make_network(config, 7)
    images = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 1), np.uint8)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=False))
    ours = sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))
    assert sum(p.numel() for p in theirs.parameters()) == ours
    if name != "cnn4":
        return
    variables = jax.jit(lambda: model.init(jax.random.key(0), images, train=False))()
    params = variables["params"]["encoder"]
    for i, conv in enumerate(theirs.encoder.convs):
        kernel = np.asarray(params[f"conv{i + 1}"]["kernel"])
        conv.weight.data = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())
    head = variables["params"]["head"]
    theirs.head.weight.data = torch.from_numpy(np.asarray(head["kernel"]).T.copy())
    theirs.head.bias.data = torch.from_numpy(np.asarray(head["bias"]).copy())
    with torch.inference_mode():
        out = theirs(torch.from_numpy(images))
    expected = jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, images)
    np.testing.assert_allclose(out, expected, atol=2e-4)


def test_the_table_of_variants_has_means_and_spreads(tmp_path):
    from benchmarks import fer_table

    for seed, (val, test) in enumerate(((0.5, 0.4), (0.7, 0.6))):
        workdir = tmp_path / f"cnn4_{seed}"
        workdir.mkdir()
        lines = [{"images_per_second": 90.0}, {"val/accuracy": val - 0.1}, {"val/accuracy": val}]
        (workdir / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
        (workdir / "evaluation.json").write_text(json.dumps({"metrics": {"accuracy": test}}))
        (workdir / "output.txt").write_text("model: 1,234 parameters, 1,234 trained\n")
    runs = [fer_table.read_run(tmp_path / f"cnn4_{s}", "accuracy") for s in (0, 1)]
    row = fer_table.summary("cnn4", runs)
    assert row["val"] == pytest.approx(0.6) and row["test_sd"] == pytest.approx(0.1 * 2**0.5)
    fer_table.write_tables(tmp_path, [row], "accuracy")
    (tmp_path / "cnn4_0.args").write_text('["--config.train.epochs=3"]')
    assert fer_table.is_finished(tmp_path / "cnn4_0", ["--config.train.epochs=3"])
    assert not fer_table.is_finished(tmp_path / "cnn5_0", [])
    with pytest.raises(app.UsageError, match="cnn4_0 was trained with --config.train.epochs=3"):
        fer_table.is_finished(tmp_path / "cnn4_0", ["--config.train.epochs=9"])
    text = (tmp_path / "table.md").read_text()
    assert "| cnn4 | 1,234 | 90 | 2 | 0.6000 ± 0.1414 | 0.5000 ± 0.1414 |" in text
    assert (tmp_path / "table.csv").read_text().splitlines()[0].startswith("variant,parameters")


def test_attention_joins_saved_weights_and_is_trained_while_they_are_frozen(tmp_path):
    plain = encoders.make("cnn_tiny", encoders.CLASSIFIERS, num_classes=0)
    images = jnp.zeros((1, SIZE, SIZE, 1))
    saved = jax.jit(lambda: plain.init(jax.random.key(5), images, train=False))()
    path = tmp_path / "encoder.safetensors"
    pretrained.save(path, "cnn_tiny", plain, saved, "a test")
    config = tiny_config(model__attention=("se", "cbam"))
    config.model.encoder.weights = str(path)
    info = {"classes": list(CLASSES), "train_counts": [1, 1, 1], "channels": 1}
    task = classification.make(config, info)
    batch = {"image": np.zeros((1, SIZE, SIZE, 1), np.uint8)}
    variables = jax.jit(task.model.init)(jax.random.key(0), batch)
    loaded = task.model.load_weights(variables)
    for layer, arrays in loaded["params"]["encoder"].items():
        source = variables["params"]["encoder"] if "attention" in layer else saved["params"]
        jax.tree.map(np.testing.assert_array_equal, arrays, source[layer])
        inside = ("encoder", layer, "kernel")
        assert task.model.trainable(inside) == ("attention" in layer)
    assert task.model.trainable(("head", "kernel"))


def test_wandb_gets_what_the_metrics_file_gets(tmp_path, monkeypatch):
    """A stand-in for the library, which would start a process of its own."""
    logged, options = [], {}

    class Run:
        def log(self, values, step):
            logged.append((step, values))

        def finish(self):
            logged.append("finished")

    def init(**given):
        options.update(given)
        return Run()

    library = types.SimpleNamespace(
        init=init, Image=lambda image: image.shape, Settings=dict, errors=types.SimpleNamespace()
    )
    library.errors.Error = RuntimeError
    monkeypatch.setitem(sys.modules, "wandb", library)
    monkeypatch.setattr(logs, "_tensorboard", lambda workdir: None)
    config = tiny_config(log__wandb__project="faces")
    assert wandb_log.start(tiny_config(), str(tmp_path)) is None
    log = logs.RunLog(str(tmp_path), 10, 4, 0, wandb_log.start(config, str(tmp_path)))
    log.metrics(3, {"val/accuracy": 0.5})
    log.figure(3, "confusion", np.zeros((4, 5, 3), np.uint8))
    log.close()
    assert logged == [(3, {"val/accuracy": 0.5}), (3, {"confusion": (4, 5, 3)}), "finished"]
    assert options["project"] == "faces" and options["config"]["task"] == "classification"
    first = options["id"]
    wandb_log.start(config, str(tmp_path))
    assert options["id"] == first and options["resume"] == "allow"  # a resumed run is the same run
