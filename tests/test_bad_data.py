"""Data that cannot be used, and options that cannot be done: one line, exit code 2."""

import numpy as np
import pytest
from PIL import Image

from tests.command import refused

SCRATCH = {
    "unet": ("--config.model.encoder.weights=",),
    "perception": ("--config.model.encoder.weights=",),
}
NAMES = ("unet", "fer", "ram", "rat", "perception")
RNG = np.random.default_rng(0)


def picture(path, size=(40, 40), high=256, gray=False):
    """A picture of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, high, size if gray else (*size, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)


def train_on(call, tmp_path, name, *more):
    data = tmp_path / ("data.npz" if (tmp_path / "data.npz").exists() else "data")
    path = f"--config.data.path={data}"
    workdir = f"--workdir={tmp_path / 'w'}"
    return call(workdir, f"--config=configs/{name}.py", path, *SCRATCH.get(name, ()), *more)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("what", ["nothing", "an empty folder", "a text", "an empty file"])
def test_no_data_at_all(call, tmp_path, name, what):
    data = tmp_path / "data"
    if what == "an empty folder":
        data.mkdir()
    elif what != "nothing":
        data.write_text("hello" if what == "a text" else "")
    refused(train_on(call, tmp_path, name), "data")
    assert not (tmp_path / "w").exists()


def aerial_without_masks(data):
    picture(data / "train/images/a.png")


def aerial_without_images(data):
    picture(data / "train/masks/a.png", high=2, gray=True)


def aerial_of_other_sizes(data):
    for i in range(3):
        picture(data / f"train/images/{i}.png")
        picture(data / f"train/masks/{i}.png", (20, 20), high=2, gray=True)


def aerial_of_many_levels(data):
    for i in range(3):
        picture(data / f"train/images/{i}.png")
        picture(data / f"train/masks/{i}.png", high=7, gray=True)


def aerial_damaged(data):
    for i in range(3):
        picture(data / f"train/images/{i}.png")
        (data / f"train/images/{i}.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
        picture(data / f"train/masks/{i}.png", high=2, gray=True)


def one_class(data):
    picture(data / "happy/a.png")


def an_empty_class(data):
    picture(data / "happy/a.png")
    (data / "sad").mkdir()


def a_class_that_train_lacks(data):
    for split, names in (("train", ("happy", "sad")), ("test", ("happy", "odd"))):
        for name in names:
            picture(data / split / name / f"{split}.png")


def damaged_faces(data):
    for name in ("happy", "sad"):
        picture(data / name / "a.png")
        (data / name / "a.png").write_bytes(b"hello")


def a_csv_of_something_else(data):
    data.mkdir()
    (data / "scores.csv").write_text("a,b\n1,2\n")
    (data / "keypoints.csv").write_text("a,b\n1,2\n")
    picture(data / "images/a.png")
    picture(data / "b.png")


def a_csv_without_scores(data):
    data.mkdir()
    picture(data / "images/a.png")
    (data / "scores.csv").write_text("file\na.png\n")


def a_csv_of_words(data):
    data.mkdir()
    picture(data / "images/a.png")
    (data / "scores.csv").write_text("file,safe\na.png,very\n")


def one_score_for_all(data):
    lines = ["file,safe"]
    for i in range(40):
        picture(data / f"images/p{i}.png", (20, 20))
        lines.append(f"p{i}.png,5.0")
    (data / "scores.csv").write_text("\n".join(lines) + "\n")


def scores_of_photos_that_are_not_there(data):
    data.mkdir()
    picture(data / "images/a.png")
    lines = [f"gone{i}.png,{i}" for i in range(9)]
    (data / "scores.csv").write_text("\n".join(["file,safe", *lines]) + "\n")


def npz(**arrays):
    def write(data):
        np.savez(data.with_suffix(".npz"), **arrays)

    return write


PIXELS = np.zeros((9, 20, 20), np.uint8)
POINTS = np.full((9, 2), 5.0, np.float32)


def pickled(data):
    locs = np.array([{"a": 1}] * 9, object)
    np.savez(data.with_suffix(".npz"), images=PIXELS, locs_head=locs)


def cut_idx(data):
    data.mkdir()
    for name in ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte"):
        (data / name).write_bytes(b"\x00\x00\x08\x03\x00\x00\x00\x09")
    for name in ("train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte"):
        (data / name).write_bytes(b"\x00\x00\x08\x01\x00\x00\x00\x09")


def unlabelled(data):
    for i in range(9):
        picture(data / f"{i}.png", (12, 12))


DATA = [
    ("unet", aerial_without_masks, (), "mask"),
    ("unet", aerial_without_images, (), "images"),
    ("unet", aerial_of_other_sizes, (), "40"),
    ("unet", aerial_of_many_levels, (), "values"),
    ("unet", aerial_damaged, (), "cannot be used"),
    ("fer", one_class, (), "at least two"),
    ("fer", an_empty_class, (), "sad"),
    ("fer", a_class_that_train_lacks, (), "odd"),
    ("fer", damaged_faces, (), "cannot be used"),
    ("fer", a_csv_of_something_else, (), "class"),
    ("perception", a_csv_of_something_else, (), "scores.csv"),
    ("perception", a_csv_without_scores, (), "scores.csv"),
    ("perception", a_csv_of_words, (), "very"),
    ("perception", one_score_for_all, (), "one score"),
    ("perception", scores_of_photos_that_are_not_there, (), "gone"),
    ("perception", one_score_for_all, ("--config.data.attributes=('pretty',)",), "pretty"),
    ("perception", one_score_for_all, ("--config.data.fold=2",), "fold"),
    ("perception", one_score_for_all, ("--config.data.test_cities=('Rome',)",), "test_cities"),
    ("rat", a_csv_of_something_else, (), "file"),
    ("rat", npz(a=PIXELS), (), "images"),
    ("rat", npz(images=PIXELS), (), "locs_"),
    ("rat", npz(images=PIXELS.astype(np.float32), locs_head=POINTS), (), "float32"),
    ("rat", npz(images=PIXELS, locs_head=POINTS[:3]), (), "locs_head"),
    ("rat", pickled, (), "pickled"),
    ("ram", cut_idx, (), "idx"),
    (
        "ram",
        unlabelled,
        ("--config.model.head=classifier", "--config.loss.reward=correct"),
        "labels",
    ),
]


@pytest.mark.parametrize(("name", "make", "more", "words"), DATA)
def test_data_that_cannot_be_used(call, tmp_path, name, make, more, words):
    make(tmp_path / "data")
    refused(train_on(call, tmp_path, name, *more), words)
    assert not (tmp_path / "w").exists()


OPTIONS = [
    ("ram", ("--config.data.tfds=mnist",), "data.path"),
    ("unet", ("--config.data.range=(0,4095)",), "data.range"),
    ("unet", ("--config.init_from=nowhere",), "nowhere' does not exist"),
    ("unet", ("--config.model.encoder.name=resnet",), "no encoder is called 'resnet'"),
    ("unet", ("--config.model.encoder.name=cnn4",), "no encoder is called 'cnn4'"),
    ("unet", ("--config.model.encoder.name=resnet18",), "model.encoder.width=0.5"),
    ("fer", ("--config.model.encoder.width=0.5",), "means nothing for 'cnn4'"),
    ("fer", ("--config.model.attention=('se','se','se','se','se')",), "has 4 stages"),
    ("fer", ("--config.model.attention=('sé',)",), "sé"),
    ("fer", ("--config.model.encoder.weights=nowhere.safetensors",), "nowhere.safetensors"),
    ("fer", ("--config.model.encoder.weights=imagenet",), "no ImageNet weights for 'cnn4'"),
    ("unet", ("--config.model.encoder.unfreeze_from=block_99",), "block_99"),
    ("unet", ("--config.batch_size=100000000",), "batch_size=100000000 needs"),
    ("unet", ("--config.eval.batch_size=100000000",), "eval.batch_size=100000000 needs"),
    ("unet", ("--config.data.image_size=65536",), "GiB of memory are free"),
    ("rat", ("--config.data.reader=os.path",), "data.reader='os.path' is no reader"),
    ("rat", ("--config.batch_size=100000000",), "batch_size=100000000 needs"),
    ("ram", ("--config.model.hidden=65536", "--config.model.decoder_width=65536"), "parameters"),
    ("ram", ("--config.checkpoint.best_metric=iou",), "'iou' is not a metric"),
    ("ram", ("--config.canvas.size=8",), "canvas.size=8"),
    ("ram", ("--config.train.steps=3", "--config.train.accumulate_steps=4"), "the run's 3 steps"),
    ("perception", ("--config.data.oversample=ugly",), "ugly"),
    ("rat", ("--config.heading.base=('wing',)",), "wing"),
    ("unet", ("--config.data.synthetic_examples.val=0", "--config.early_stop_epochs=3"), "val"),
]


@pytest.mark.parametrize(("name", "options", "words"), OPTIONS)
def test_what_is_asked_cannot_be_done(call, tmp_path, name, options, words):
    small = [f"--config.data.synthetic_examples.{split}=8" for split in ("train", "val", "test")]
    arguments = [f"--workdir={tmp_path / 'w'}", f"--config=configs/{name}.py", *small, *options]
    refused(call(*arguments), words)
    assert not (tmp_path / "w").exists()
