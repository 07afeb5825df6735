"""Readers of MNIST, CIFAR-10, TFDS and folders; images made on the device."""

import gzip
import os
import pickle
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from configs import ram
from jaxvision.errors import UserError
from jaxvision.input_pipeline import loader
from jaxvision.input_pipeline.augment import clutter
from jaxvision.input_pipeline.readers import small_images
from jaxvision.input_pipeline.readers.small_images import image_folder
from jaxvision.sharding import make_mesh
from tests.cifar_binary import write_official


def load(path, **data):
    config = ram.get_config()
    config.data.path = str(path)
    config.data.image_size = 16
    for name, value in data.items():
        config.data[name] = value
    return loader.load_dataset(config)


def rows(dataset, split):
    """(images, labels) of a split."""
    found = [dataset.splits[split].read(i) for i in range(len(dataset.splits[split].names))]
    assert [int(row["index"]) for row in found] == list(range(len(found)))
    return np.stack([row["image"] for row in found]), [int(row["label"]) for row in found]


def idx_bytes(array):
    head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(np.uint8).tobytes()


def write_mnist(folder, train=60, test=10, zipped=False, seed=0):
    """Random images in the idx layout; returns {split: (images, labels)}."""
    rng, written = np.random.default_rng(seed), {}
    for stem, count in (("train", train), ("t10k", test)):
        images = rng.integers(0, 256, (count, 12, 12), np.uint8)
        labels = np.arange(count) % 10
        written[stem] = images, labels
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            content = idx_bytes(array)
            name = f"{stem}-{kind}-ubyte" + (".gz" if zipped else "")
            (folder / name).write_bytes(gzip.compress(content) if zipped else content)
    return written


@pytest.mark.parametrize("zipped", [False, True])
def test_idx_files(tmp_path, zipped):
    written = write_mnist(tmp_path, zipped=zipped)
    dataset = load(tmp_path)
    assert dataset.info == {"shape": [12, 12, 1], "classes": [str(i) for i in range(10)]}
    images, labels = rows(dataset, "test")
    np.testing.assert_array_equal(images[..., 0], written["t10k"][0])
    assert labels == list(written["t10k"][1])
    parts = [rows(dataset, split)[0] for split in ("train", "val")]
    assert len(parts[0]) + len(parts[1]) == 60 and 2 <= len(parts[1]) <= 14
    together = {image.tobytes() for part in parts for image in part}
    assert together == {image.tobytes() for image in written["train"][0]}
    assert "a tenth of train" in dataset.source


def test_copies_across_splits_are_dropped_from_training(tmp_path):
    written = write_mnist(tmp_path)
    images = written["train"][0].copy()
    images[:5] = written["t10k"][0][:5]
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx_bytes(images))
    dataset = load(tmp_path)
    held = {image.tobytes() for image in rows(dataset, "test")[0]}
    for split in ("train", "val"):
        assert not held & {image.tobytes() for image in rows(dataset, split)[0]}
    assert sum(len(dataset.splits[split].names) for split in ("train", "val")) == 55
    assert any("exact copies are in test" in note for note in dataset.notes)


def test_damaged_idx_files_are_named(tmp_path):
    write_mnist(tmp_path)
    images = tmp_path / "train-images-idx3-ubyte"
    whole = images.read_bytes()
    images.write_bytes(whole[:-7])
    with pytest.raises(
        UserError, match=r"train-images.*bytes where its header says \(60, 12, 12\)"
    ):
        load(tmp_path)
    images.write_bytes(b"\x1f\x8b" + whole)
    with pytest.raises(UserError, match="damaged or unreadable"):
        load(tmp_path)
    images.write_bytes(b"hello")
    with pytest.raises(UserError, match="no idx file"):
        load(tmp_path)
    images.write_bytes(idx_bytes(np.zeros((3, 12, 12))))
    with pytest.raises(UserError, match="3 images, but 60 labels"):
        load(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(UserError, match="no train-labels"):
        load(tmp_path)


def test_real_mnist(shared_data):
    dataset = load(shared_data / "mnist")
    assert dataset.splits["test"].examples == 10_000
    assert sum(dataset.splits[split].examples for split in ("train", "val")) == 60_000
    row = dataset.splits["test"].read(0)
    assert row["image"].shape == (28, 28, 1) and row["label"] == 7


def test_cifar10_binary_and_python_are_the_same(shared_data, tmp_path):
    binary, python = tmp_path / "bin", tmp_path / "py" / "cifar-10-batches-py"
    write_official(shared_data / "cifar10" / "cifar10_webp.tar", binary, 2, 1)
    python.mkdir(parents=True)
    for path in binary.iterdir():
        content = np.fromfile(path, np.uint8).reshape(-1, 3073)
        batch = {b"data": content[:, 1:], b"labels": content[:, 0].tolist(), b"batch_label": b"x"}
        (python / path.stem).write_bytes(pickle.dumps(batch, protocol=2))
    first, second = load(binary), load(python.parent)
    assert first.info == second.info and len(first.info["classes"]) == 10
    assert first.info["shape"] == [32, 32, 3] and first.fingerprint == second.fingerprint
    for split, count in (("train", None), ("test", 500)):
        images, labels = rows(first, split)
        again, labels_again = rows(second, split)
        np.testing.assert_array_equal(images, again)
        assert labels == labels_again and (count is None or len(labels) == count)
    # Neighbouring pixels are alike in a photo whose planes and rows were read in the right order.
    assert np.abs(np.diff(images.astype(int), axis=2)).mean() < 15


def test_damaged_and_dangerous_cifar10_is_refused(tmp_path):
    (tmp_path / "data_batch_1.bin").write_bytes(b"x" * 3000)
    with pytest.raises(UserError, match="3000 bytes are no multiple of 3073"):
        load(tmp_path)
    (tmp_path / "data_batch_1.bin").unlink()
    ran = tmp_path / "ran"

    class Danger:
        def __reduce__(self):
            return os.mkdir, (str(ran),)

    (tmp_path / "data_batch_1").write_bytes(pickle.dumps({b"data": Danger()}, protocol=2))
    with pytest.raises(UserError, match="no official CIFAR-10 python batch.*mkdir"):
        load(tmp_path)
    assert not ran.exists()


def photo(path, colour, size=(30, 20)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def test_a_folder_with_classes_and_splits(tmp_path):
    for i in range(20):
        photo(tmp_path / "train" / "cat" / f"{i}.png", (i, 0, 0))
        photo(tmp_path / "train" / "dog" / f"{i}.png", (0, i + 1, 0))
    photo(tmp_path / "test" / "dog" / "0.png", (0, 0, 255))
    dataset = load(tmp_path)
    assert dataset.info == {"shape": [16, 16, 3], "classes": ["cat", "dog"]}
    images, labels = rows(dataset, "test")
    assert labels == [1] and (images[0] == (0, 0, 255)).all()
    assert dataset.splits["train"].examples + dataset.splits["val"].examples == 40
    for split in ("train", "val"):
        for image, label in zip(*rows(dataset, split), strict=True):
            assert (image[..., 1].max() > 0) == (label == 1)


def test_a_flat_folder_has_no_labels_and_splits_by_name(tmp_path):
    for i in range(60):
        photo(tmp_path / f"{i}.jpg", (4 * i, 255 - 4 * i, 0))
    (tmp_path / "._0.jpg").write_bytes(b"of macOS")
    dataset = load(tmp_path, gray=True)
    assert dataset.info == {"shape": [16, 16, 1], "classes": []}
    assert set(dataset.splits) == {"train", "val", "test"}
    assert sum(split.examples for split in dataset.splits.values()) == 60
    assert set(dataset.splits["train"].read(0)) == {"image", "index"}


def test_what_cannot_be_read_of_a_folder_is_named(tmp_path):
    with pytest.raises(UserError, match="is no folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no images"):
        load(tmp_path)
    for i in range(4):
        photo(tmp_path / "cat" / f"{i}.png", (i, 0, 0))
    (tmp_path / "cat" / "bad.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"1 of 5 examples.*cat/bad.png"):
        load(tmp_path)
    (tmp_path / "cat" / "bad.png").unlink()
    photo(tmp_path / "loose.png", (9, 9, 9))
    with pytest.raises(UserError, match="folders of classes and, beside them, loose.png"):
        load(tmp_path)


def test_fit_takes_the_middle_square():
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = (10, 200, 30)
    assert (image_folder.fit(wide, 4, False) == (10, 200, 30)).all()
    assert image_folder.fit(wide, 4, True).shape == (4, 4, 1)


def test_tfds(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    written = write_mnist(tmp_path)
    splits = {
        name: [(i, {"image": images[i, ..., None], "label": labels[i]}) for i in range(len(labels))]
        for name, (images, labels) in (("train", written["train"]), ("test", written["t10k"]))
    }
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(12, 12, 1)),
            "label": tfds.features.ClassLabel(num_classes=10),
        }
    )
    for file_format in ("array_record", "tfrecord"):
        folder = tmp_path / file_format
        tfds.dataset_builders.store_as_tfds_dataset(
            name="tiny_digits",
            version="1.0.0",
            features=features,
            split_datasets=splits,
            data_dir=str(folder),
            file_format=file_format,
        )
        dataset = load(folder, tfds="tiny_digits")
        images, labels = rows(dataset, "test")
        expected = dict(zip(map(bytes, written["t10k"][0]), written["t10k"][1], strict=True))
        assert dict(zip(map(bytes, images), labels, strict=True)) == expected
    with pytest.raises(UserError, match="data.tfds='no_such_set' cannot be had"):
        load(tmp_path, tfds="no_such_set")


def test_built_in_digits():
    config = ram.get_config()
    dataset = loader.load_dataset(config)
    assert "built-in digits" in dataset.source
    assert dataset.info["shape"] == [16, 16, 1] and len(dataset.info["classes"]) == 10
    assert sum(split.examples for split in dataset.splits.values()) == 1797
    again = loader.load_dataset(config)
    assert dataset.fingerprint == again.fingerprint
    config.seed = 1
    assert loader.load_dataset(config).fingerprint != dataset.fingerprint


def test_tfds_without_a_folder_is_no_digits():
    config = ram.get_config()
    config.data.tfds = "mnist"
    with pytest.raises(UserError, match="data.tfds='mnist' needs data.path"):
        loader.load_dataset(config)


def test_other_labels_are_other_data(tmp_path):
    written = write_mnist(tmp_path)
    mesh, config = make_mesh({}), ram.get_config()
    config.data.path = str(tmp_path)

    def resident():
        dataset = loader.load_dataset(config)
        return dataset, np.asarray(loader.open_feed(dataset, "test", config, mesh).arrays["label"])

    first, labels = resident()
    np.testing.assert_array_equal(labels, written["t10k"][1])
    for stem, (_, own) in written.items():
        (tmp_path / f"{stem}-labels-idx1-ubyte").write_bytes(idx_bytes(own[::-1]))
    second, labels = resident()
    np.testing.assert_array_equal(labels, written["t10k"][1][::-1])
    assert first.fingerprint != second.fingerprint


def test_a_folder_with_splits_of_other_names(tmp_path):
    for i in range(20):
        photo(tmp_path / "Training" / "cat" / f"{i}.bmp", (i, 0, 0))
        photo(tmp_path / "Training" / "dog" / f"{i}.gif", (0, i + 1, 0))
    photo(tmp_path / "validation" / "dog" / "0.png", (0, 0, 255))
    photo(tmp_path / "testing" / "cat" / "0.jpeg", (0, 99, 255))
    photo(tmp_path / "cat" / "0.jpeg", (0, 9, 255))
    (tmp_path / "Training" / "cat" / "up").symlink_to(tmp_path)
    dataset = load(tmp_path)
    counts = {name: split.examples for name, split in dataset.splits.items()}
    assert counts == {"train": 40, "val": 1, "test": 1}
    assert "2 files left out: Training/cat/up, cat/ (1)" in dataset.notes


def test_labels_without_a_class_and_splits_of_two_shapes_are_refused():
    images, labels = np.zeros((3, 4, 4, 1), np.uint8), np.array([0, 1, 2], np.int32)
    with pytest.raises(UserError, match="labels of train run from 0 to 2, but there are 2"):
        small_images.from_arrays("here", {"train": (images, labels)}, ["a", "b"])
    with pytest.raises(UserError, match="different shapes"):
        pair = {"train": (images, labels), "test": (images[:, :2], labels)}
        small_images.from_arrays("here", pair, ["a", "b", "c"])


# Made on the device.


def canvases(count=300, pieces=0, key=0):
    image = np.full((count, 5, 4, 1), 200, np.uint8)
    others = np.full((count, pieces, 5, 4, 1), 90, np.uint8)
    keys = jax.random.split(jax.random.key(key), count)
    return np.asarray(clutter.on_canvas(keys, image, others, 12, pieces, 3))


def test_translated_images_are_whole_and_anywhere():
    made = canvases()
    assert ((made == 200).sum((1, 2, 3)) == 20).all() and set(np.unique(made)) == {0, 200}
    tops = (made[..., 0] > 0).any(2).argmax(1)
    lefts = (made[..., 0] > 0).any(1).argmax(1)
    assert set(tops) == set(range(8)) and set(lefts) == set(range(9))


def test_clutter_lies_beneath_the_brighter_image():
    made = canvases(pieces=4)
    assert ((made == 200).sum((1, 2, 3)) == 20).all()
    strewn = (made == 90).sum((1, 2, 3))
    assert strewn.max() <= 4 * 9 and strewn.mean() > 12
    np.testing.assert_array_equal(made, canvases(pieces=4))
    assert (made != canvases(pieces=4, key=1)).any()


def test_pieces_come_from_other_images():
    images = jnp.arange(6, dtype=jnp.uint8)[:, None, None, None] * jnp.ones((1, 2, 2, 1), jnp.uint8)
    others = np.asarray(clutter.other_images(jax.random.key(0), images, 50))
    assert others.shape == (6, 50, 2, 2, 1)
    for i, drawn in enumerate(others):
        assert set(np.unique(drawn)) == set(range(6)) - {i}


def test_shift_moves_by_at_most_its_reach():
    images = np.zeros((400, 9, 9, 1), np.uint8)
    images[:, 4, 4] = 1
    moved = np.asarray(clutter.shifted(jax.random.key(0), jnp.asarray(images), 2))
    places = np.argwhere(moved[..., 0])
    assert len(places) == 400
    assert {tuple(p - 4) for p in places[:, 1:]} == {
        (y, x) for y in range(-2, 3) for x in range(-2, 3)
    }
    np.testing.assert_array_equal(clutter.shifted(jax.random.key(0), images, 0), images)
