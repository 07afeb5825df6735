"""Wrong and awkward inputs: each ends with exit code 2 and one line that names what was wrong."""

from pathlib import Path

import pytest

import main
from configs import common, fer, perception, ram, rat, scenes, unet
from jaxvision.config import check as check_config
from jaxvision.config import fields
from jaxvision.errors import UserError
from tests.command import RAM, refused

ROOT = Path(__file__).parents[1]
NAN, INF = float("nan"), float("inf")
# ---- fields ---------------------------------------------------------------------------------


def every_config():
    yield from (unet.get_config(), rat.get_config(), perception.get_config())
    yield from (scenes.get_config(), scenes.get_config("mobilenet_v2"))
    yield from (fer.get_config(name) for name in (*fer.VARIANTS, "vgg_face"))
    yield from (fer.get_config(f"{name}_imagenet") for name in fer.PRETRAINED)
    variants = ("", "mnist", "translated", "cluttered60", "cluttered100", "cifar10")
    yield from (ram.get_config(name) for name in variants)


def test_every_field_of_every_config_is_in_the_table_and_every_default_passes():
    seen = set()
    for config in every_config():
        check_config.check(config)
        seen |= {(config.task, path) for path in check_config.flatten(config)}
    table = {
        (task, path) for task in fields.TASKS for path in (*fields.COMMON, *fields.TASKS[task])
    }
    assert seen == table
    assert set(check_config.flatten(common.get_config())) == set(fields.COMMON)


FIELDS = [
    # config, field, value, words of the line
    ("unet", "batch_size", 0, "of at least 1"),
    ("unet", "batch_size", -8, "of at least 1"),
    ("unet", "seed", -1, "at least 0"),
    ("unet", "data.reader", "", "use one of aerial"),
    ("unet", "data.reader", "areal", "use one of aerial"),
    ("unet", "data.reader", "expressions", "use one of aerial"),
    ("fer", "data.reader", "keypoints", "expressions, scenes"),
    ("rat", "data.reader", "my.reader", "can be imported"),
    ("rat", "data.reader", "..", "can be imported"),
    ("unet", "data.image_size", 0, "from 1"),
    ("unet", "data.image_size", -128, "from 1"),
    ("fer", "data.image_size", 4, "from 8"),
    ("rat", "data.image_size", -1, "from 0"),
    ("perception", "data.image_size", 10**6, "from 0 to 65536"),
    ("unet", "data.range", (0,), "0 or 2 values"),
    ("unet", "data.range", (255, 0), "black, then white"),
    ("unet", "data.range", ("a", "b"), "a number"),
    ("unet", "data.resident", "yes", "'auto'"),
    ("unet", "data.resident_gib", -1.0, "at least 0"),
    ("unet", "data.resident_gib", NAN, "at least 0"),
    ("unet", "data.workers", -2, "from 0"),
    ("unet", "data.synthetic_examples.train", 0, "from 1"),
    ("unet", "data.synthetic_examples.val", -1, "from 0"),
    ("unet", "data.synthetic_examples.train", 10**9, "to 1e+06"),
    ("unet", "train.epochs", 0, "above 0"),
    ("unet", "train.epochs", -3, "above 0"),
    ("unet", "train.steps", -1, "at least 0"),
    ("unet", "train.accumulate_steps", 0, "at least 1"),
    ("unet", "train.ema_decay", 1.5, "below 1"),
    ("unet", "train.ema_decay", 1.0, "below 1"),
    ("unet", "train.ema_decay", -0.1, "from 0"),
    ("unet", "train.ema_decay", NAN, "from 0"),
    ("unet", "train.dtype", "float16", "'bfloat16'"),
    ("unet", "train.dtype", "", "'bfloat16'"),
    ("unet", "train.steps_per_call", -2, "from 0"),
    ("unet", "optimizer.name", "adam", "'adamw'"),
    ("unet", "optimizer.learning_rate", -1e-3, "from 0"),
    ("unet", "optimizer.learning_rate", INF, "from 0"),
    ("unet", "optimizer.weight_decay", -1.0, "from 0"),
    ("unet", "optimizer.schedule", "linear", "'cosine'"),
    ("unet", "optimizer.warmup_steps", -1, "at least 0"),
    ("unet", "optimizer.encoder_lr_scale", 0.0, "above 0"),
    ("unet", "optimizer.clip_norm", -1.0, "at least 0"),
    ("unet", "optimizer.plateau_factor", 1.0, "below 1"),
    ("unet", "optimizer.plateau_patience", 0, "above 0"),
    ("unet", "eval.every_epochs", 0.0, "above 0"),
    ("unet", "eval.batch_size", -1, "at least 0"),
    ("unet", "eval.figure_rows", -1, "from 0"),
    ("unet", "checkpoint.every_steps", -5, "at least 0"),
    ("unet", "checkpoint.keep_every_steps", -5, "at least 0"),
    ("unet", "log.every_steps", -1, "at least 0"),
    ("unet", "early_stop_epochs", -1, "at least 0"),
    ("unet", "model.encoder.width", 0.0, "from 0.05"),
    ("unet", "model.encoder.bn_momentum", 1.1, "from 0 to 1"),
    ("unet", "model.decoder_widths", (64, 48, 32), "5 values"),
    ("unet", "model.decoder_widths", (64, 48, 32, 16, 0), "from 1"),
    ("unet", "model.decoder_widths", ("a", "b", "c", "d", "e"), "whole number"),
    ("unet", "augment.zoom", -0.5, "from 0"),
    ("unet", "augment.brightness", 2.0, "from 0 to 1"),
    ("unet", "loss.name", "dice", "'bce_dice'"),
    ("unet", "loss.tversky_alpha", 1.5, "from 0 to 1"),
    ("unet", "predict.tile", 0, "from 128"),
    ("unet", "predict.tile", 500, "to 16384, a multiple of 128"),
    ("unet", "predict.overlap", 512, "predict.tile=512"),
    ("unet", "predict.overlap", -1, "from 0"),
    ("unet", "predict.batch_size", 0, "from 1"),
    ("unet", "predict.batch_size", 10**8, "to 4096"),
    ("unet", "predict.tolerance", NAN, "at least 0"),
    ("unet", "data.crop_size", 256, "data.image_size=128"),
    ("fer", "data.channels", 2, "one of 1, 3"),
    ("fer", "data.crop_size", 64, "data.image_size=48"),
    ("fer", "augment.erase", 1.5, "from 0 to 1"),
    ("fer", "augment.rotate", 270.0, "to 180"),
    ("fer", "augment.mixup", -1.0, "from 0"),
    ("fer", "model.dropout", 1.5, "below 1"),
    ("fer", "model.dropout", 1.0, "below 1"),
    ("fer", "model.hidden", ("256",), "whole number"),
    ("fer", "model.hidden", (-1,), "from 1"),
    ("fer", "model.attention", (1, 2), "a text"),
    ("fer", "loss.name", "hinge", "'focal'"),
    ("fer", "loss.label_smoothing", 1.0, "below 1"),
    ("fer", "loss.focal_gamma", -1.0, "from 0"),
    ("fer", "loss.class_weights", "auto", "'balanced'"),
    ("fer", "eval.views", "five_crop", "'ten_crop'"),
    ("fer", "predict.faces", "sometimes", "'always'"),
    ("fer", "predict.margin", -0.1, "from 0"),
    ("fer", "predict.every_seconds", 0.0, "above 0"),
    ("ram", "model.head", "both", "'classifier'"),
    ("ram", "model.glimpses", 0, "from 1"),
    ("ram", "model.core", "transformer", "'lstm'"),
    ("ram", "model.widths", (128, 128), "3 values"),
    ("ram", "model.std", 0.0, "above 0"),
    ("ram", "loss.discount", 1.5, "from 0 to 1"),
    ("ram", "canvas.size", -1, "from 0"),
    ("ram", "canvas.clutter_size", 0, "from 1"),
    ("ram", "eval.rollouts", 0, "from 1"),
    ("ram", "predict.film", "avi", "'mp4'"),
    ("rat", "model.name", "transformer", "'heatmap'"),
    ("rat", "model.widths", (16, 32), "heatmap network has 3"),
    ("rat", "model.widths", (), "values"),
    ("rat", "data.animal", "grey", "'dark'"),
    ("rat", "data.split", "city", "'time'"),
    ("rat", "data.test_fraction", 1.0, "below 1"),
    ("rat", "data.test_fraction", 0.0, "above 0"),
    ("rat", "data.val_fraction", 0.0, "above 0"),
    ("rat", "data.group_size", -1, "at least 0"),
    ("rat", "predict.fps", 0.0, "above 0"),
    ("rat", "predict.crop_size", -3, "from 0"),
    ("rat", "predict.smoothing_strength", 0.0, "above 0"),
    ("rat", "augment.rotation", 720.0, "to 180"),
    ("rat", "loss.sigma", 0.0, "above 0"),
    ("rat", "heading.base", (1,), "a text"),
    ("rat", "film.fps", 0.0, "above 0"),
    ("rat", "film.max_frames", 0, "at least 1"),
    ("rat", "predict.smoothing", "mean", "'kalman'"),
    ("rat", "predict.layout", "sleap", "'deeplabcut'"),
    ("perception", "data.target", "zscore", "'deciles'"),
    ("perception", "data.split", "time", "'city'"),
    ("perception", "data.fractions.test", 1.5, "from 0 to 1"),
    ("perception", "data.cached_views", 11, "to 10"),
    ("perception", "data.folds", -1, "from 0"),
    ("perception", "data.attributes", (1,), "a text"),
    ("perception", "model.heads", 0, "from 1"),
    ("perception", "loss.name", "mae", "'huber'"),
    ("perception", "loss.scores", 0.0, "nothing would be learned"),
    ("perception", "loss.votes", -1.0, "at least 0"),
]


@pytest.mark.parametrize(("name", "field", "value", "words"), FIELDS)
def test_a_field_out_of_range(call, tmp_path, name, field, value, words):
    argument = f"--config.{field}={value}"
    result = call(f"--workdir={tmp_path / 'w'}", f"--config=configs/{name}.py", argument)
    refused(result, f"{field}={value!r}" if field != "loss.scores" else field, words)
    assert not (tmp_path / "w").exists()


TOGETHER = [
    # config, fields, words of the line
    ("fer", {"eval.views": "ten_crop"}, "needs crops smaller than the images"),
    ("ram", {"loss.reward": "correct"}, "loss.reward='correct' cannot be with model.head=decoder"),
    ("ram", {"loss.entropy_bonus": 0.1}, "entropy_bonus=0.1 does nothing"),
    ("perception", {"loss.name": "ordinal"}, "set data.target=deciles"),
    ("perception", {"loss.votes": 1.0, "data.oversample": "safe"}, "drop one of them"),
    ("perception", {"data.test_cities": ("Rome",)}, "('Rome',) needs data.split=city"),
    ("perception", {"data.fold": 2}, "data.fold=2 needs data.folds"),
    ("perception", {"data.folds": 3, "data.split": "city"}, "data.folds=3 are of single photos"),
    ("perception", {"data.folds": 5, "data.fold": 5}, "data.fold=5 of data.folds=5"),
    ("perception", {"data.folds": 1}, "two at least"),
    ("perception", {"data.attributes": ("safe", "safe")}, "names one of them twice"),
    ("rat", {"heading.head": ("nose", "nose")}, "names one of them twice"),
    ("unet", {"data.classes": ("sky", "sky")}, "names one of them twice"),
    ("unet", {"data.classes": ("sky", "")}, "none empty"),
    ("unet", {"data.class_colors": ("#ffffff",)}, "has 1 colours and data.classes 0 names"),
    ("unet:classes", {"data.class_colors": ("red",)}, "'red' is no colour: write it as '#ff8000'"),
    ("ram", {"model.patches": 16, "model.scale": 16}, "the last patch would be"),
    ("perception", {"data.fractions.test": 0.9}, "data.fractions add up to"),
]


@pytest.mark.parametrize(("name", "changes", "words"), TOGETHER)
def test_fields_that_contradict_each_other(call, tmp_path, name, changes, words):
    arguments = [f"--config.{field}={value}" for field, value in changes.items()]
    file, colon, variant = name.partition(":")
    source = f"--config=configs/{file}.py{colon}{variant}"
    refused(call(f"--workdir={tmp_path / 'w'}", source, *arguments), words)
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("value", [0, 3.5, True, None, "many", [1]])
def test_a_type_that_only_a_file_can_bring(value):
    config = unet.get_config().to_dict()
    config["batch_size"] = value
    with pytest.raises(UserError, match=r"batch_size=.* a whole number of at least 1"):
        check_config.check(config)


@pytest.mark.parametrize("field", ["log.every_steps", "eval.figure_rows"])
def test_zero_means_off(call, tmp_path, field):
    workdir = tmp_path / "run"
    code, out, lines = call(f"--workdir={workdir}", *RAM, f"--config.{field}=0")
    assert code == 0 and not lines, lines
    assert ("step 2/2" in out) == (field != "log.every_steps")
    drawn = {path.name.rpartition("_")[0] for path in (workdir / "figures").iterdir()}
    assert ("glimpses" in drawn) == (field != "eval.figure_rows"), drawn


# ---- arguments and configs ------------------------------------------------------------------

NO_SYSTEM = ("=configs/common.py", ".task=os.path", ".data.reader=aerial")
ARGUMENTS = [
    ((), "no --workdir given"),
    (("--workdir=",), "no --workdir given"),
    (("--workdir=w", "--mode=drive"), "should be one of"),
    (("--workdir=w", "--mode="), "should be one of"),
    (("--workdir=w", "--split=dev", "--mode=evaluate"), "should be one of"),
    (("--workdir=w", "--step=-1"), "--step=-1"),
    (("--workdir=w", "--step=last"), "--step=last"),
    (("--workdir=w", "--config=configs/unte.py"), "configs/unte.py"),
    (("--workdir=w", "--config=unet"), "'unet' is no file; give one, as configs/unet.py"),
    (("--workdir=w", "--config="), "'' is no file"),
    (("--workdir=w", "--config=configs"), "'configs' is no file"),
    (("--workdir=w", "--config=configs/fer.py:resnet19"), "resnet19 is unknown"),
    (("--workdir=w", "--config=configs/ram.py:minst"), "minst is unknown"),
    (("--workdir=w", "--config=configs/unet.py:big"), "big is unknown"),
    (("--workdir=w", "--config=configs/rat.py:big"), "this file has no variants"),
    (("--workdir=w", "--config=configs/unet.py", "--config.batch_sise=4"), "batch_sise"),
    (("--workdir=w", "--config=configs/unet.py", "--config.model.enc.x=4"), "enc"),
    (("--workdir=w", "--config=configs/unet.py", "--config.model=4"), "model"),
    (("--workdir=w", "--config=configs/unet.py", "--config.batch_size=big"), "big"),
    (("--workdir=w", "--config=configs/unet.py", "--config.batch_size=1.5"), "1.5"),
    (("--workdir=w", "--config=configs/unet.py", "--config.batch_size="), "batch_size"),
    (("--workdir=w", "--config=configs/unet.py", "--config.model.encoder.freeze=maybe"), "maybe"),
    (("--workdir=w", "--config=configs/unet.py", "--config.task=drive"), "task='drive' is unknown"),
    (("--workdir=w", "--config=configs/unet.py", "--config.task="), "task='' is unknown"),
    (("--workdir=w", *(f"--config{a}" for a in NO_SYSTEM)), "task='os.path' is no system"),
    (("--workdir=w", "--config=configs/unet.py", "--config.task=keypoints"), "no field of task"),
    (("--workdir=w", "--config=configs/unet.py", "train"), "unexpected argument 'train'"),
    (("--workdir=w", "--config=configs/unet.py", "--nonsense=1"), "nonsense"),
    (("--workdir=w",), "'w' does not exist"),
    (
        ("--workdir=w", "--config=configs/unet.py", "--input=x"),
        "--input means nothing with --mode=t",
    ),
    (("--workdir=w", "--config=configs/unet.py", "--output=x"), "--output means nothing"),
    (("--workdir=w", "--mode=predict", "--split=val"), "with --mode=predict, but with evaluate"),
    (("--workdir=w", "--mode=evaluate", "--port=80"), "--port means nothing"),
    (("--workdir=w", "--mode=export", "--engine=onnx"), "--engine means nothing"),
    (("--workdir=w", "--mode=export_weights", "--step=2"), "--step means nothing"),
    (("--workdir=w", "--mode=serve", "--step=2"), "--step means nothing"),
    (("--workdir=w", "--mode=evaluate"), "'w' does not exist"),
    (("--workdir=w", "--mode=predict"), "'w' does not exist"),
    (("--workdir=main.py",), "main.py"),
    (("--workdir=main.py", "--config=configs/unet.py"), "cannot write to workdir"),
    (("--mode=export_weights", "--config=configs/ram.py"), "has no encoder"),
    (("--mode=export_weights", "--config=configs/unet.py"), "needs --output"),
]


@pytest.mark.parametrize(("arguments", "words"), ARGUMENTS)
def test_arguments(call, monkeypatch, arguments, words):
    monkeypatch.chdir(ROOT)
    refused(call(*arguments), words)
    assert not (ROOT / "w").exists()


def test_of_a_field_that_is_given_twice_the_last_counts(tmp_path):
    given = [f"--workdir={tmp_path}", "--config=configs/fer.py", "--config.batch_size=2"]
    tuples = ["--config.model.hidden=(32,)", "--config.model.hidden=(64,)", "--config.batch_size=4"]
    values = main.define_flags()
    main.parse_flags(["main.py", *given, *tuples], values)
    assert values.config.model.hidden == (64,) and values.config.batch_size == 4


def test_the_home_folder_may_be_a_tilde(call, monkeypatch, tmp_path):
    """A shell leaves the one in --workdir=~/run as it is."""
    monkeypatch.setenv("HOME", str(tmp_path))
    refused(call("--workdir=~/w", "--mode=evaluate"), f"'{tmp_path}/w' does not exist")
    refused(call("--workdir=~/w", *RAM, "--config.init_from=~/no"), f"init_from='{tmp_path}/no'")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("spelling", ["--help", "-h", "--helpshort", "-helpfull", "--help=1"])
def test_help_shows_our_flags_with_examples(call, spelling):
    code, out, lines = call(spelling)
    assert code == 0 and not lines
    for words in ("--config=configs/unet.py", "--mode=train|", "--split=", "--config.train.epochs"):
        assert words in out
    assert "absl" not in out and "logtostderr" not in out and max(map(len, out.splitlines())) <= 100
