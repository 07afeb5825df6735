"""Weights go out and come back whole, and a file that does not fit is refused by name."""

import json
import re
import sys
import tarfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from jaxvision.errors import UserError
from jaxvision.models import encoders, keras_weights, pretrained
from tests import quantized_mobilenet

# Road vehicles and street furniture among ImageNet's classes.
VEHICLES = {407, 436, 468, 555, 569, 609, 627, 654, 656, 660, 675, 705, 717, 734, 751, 779, 817}
STREET = VEHICLES | {829, 864, 867, 874, 475, 704, 733, 919, 920}


def variables_of(name, num_classes=None, seed=0):
    model = encoders.make(name, num_classes=num_classes)
    images = jnp.zeros((1, 32, 32, 3))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=False))
    # Not init: batch norm starts at zeros and ones, which would hide arrays that change places.
    rng = np.random.default_rng(seed)
    return model, jax.tree.map(lambda x: jnp.asarray(rng.random(x.shape), x.dtype), shapes)


def assert_equal(ours, expected):
    assert jax.tree.structure(ours) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, ours, expected)


@pytest.fixture
def saved(tmp_path):
    """A classifier's weights in a file: (path, variables)."""
    model, variables = variables_of("resnet_tiny", num_classes=3)
    path = tmp_path / "weights.safetensors"
    pretrained.save(path, "resnet_tiny", model, variables, "a test")
    return path, variables


def about_file(path):
    """What a saved file's header says."""
    with safe_open(path, "numpy") as file:
        return json.loads(file.metadata()[pretrained.HEADER])


def rewrite(path, change=lambda arrays: None, **header):
    """Changes the arrays of a saved file, their hash with them, and entries of its header."""
    arrays, about = load_file(path), about_file(path)
    change(arrays)
    about |= {"sha256": pretrained.digest(arrays), **header}
    save_file(arrays, path, {pretrained.HEADER: json.dumps(about)})


def load_classifier(path, name="resnet_tiny"):
    model, variables = variables_of(name, num_classes=3, seed=1)
    return pretrained.load(str(path), name, model, variables)


def test_what_is_saved_comes_back(saved):
    path, variables = saved
    assert_equal(load_classifier(path), variables)
    about = about_file(path)
    assert about["architecture"] == "resnet_tiny" and about["preprocessing"] == "unit_mean_std"
    assert about["source"] == "a test"
    assert list(path.parent.iterdir()) == [path]  # nothing that could be left behind
    (path.parent / "any").touch()
    assert path.stat().st_mode == (path.parent / "any").stat().st_mode


def test_shapes_alone_are_enough_to_load(saved):
    path, variables = saved
    model = encoders.make("resnet_tiny", num_classes=3)
    shapes = jax.eval_shape(lambda: variables)
    assert_equal(pretrained.load(str(path), "resnet_tiny", model, shapes), variables)


def test_a_feature_extractor_leaves_the_classifier_unread(saved):
    path, variables = saved
    model, fresh = variables_of("resnet_tiny", seed=1)
    loaded = pretrained.load(str(path), "resnet_tiny", model, fresh)
    del variables["params"]["predictions"]
    assert_equal(loaded, variables)


def test_a_new_head_is_kept(saved):
    path, variables = saved
    model, fresh = variables_of("resnet_tiny", num_classes=9, seed=1)
    loaded = pretrained.load(str(path), "resnet_tiny", model, fresh, keep=("predictions",))
    variables["params"]["predictions"] = fresh["params"]["predictions"]
    assert_equal(loaded, variables)


def test_a_missing_array_is_named(saved):
    rewrite(saved[0], lambda arrays: arrays.pop("params/conv1_conv/kernel"))
    with pytest.raises(UserError, match=r"1 missing: params/conv1_conv/kernel \(7, 7, 3, 8\)"):
        load_classifier(saved[0])


def test_an_extra_array_is_named(saved):
    rewrite(saved[0], lambda arrays: arrays.update({"params/other/bias": np.zeros(4)}))
    with pytest.raises(UserError, match=r"1 not in the model: params/other/bias \(4,\)"):
        load_classifier(saved[0])


def test_a_wrong_shape_is_named(saved):
    rewrite(saved[0], lambda arrays: arrays.update({"params/conv1_bn/bias": np.zeros(9)}))
    with pytest.raises(UserError, match=r"params/conv1_bn/bias is \(9,\), not \(8,\)"):
        load_classifier(saved[0])


def test_another_architecture_is_refused(saved):
    with pytest.raises(UserError, match="architecture resnet_tiny.*vgg_tiny"):
        load_classifier(saved[0], "vgg_tiny")
    fields = about_file(saved[0])["fields"]
    rewrite(saved[0], fields={**fields, "filters": [64, *fields["filters"][1:]]})
    with pytest.raises(UserError, match="fields"):
        load_classifier(saved[0])


def test_a_damaged_file_is_refused(saved):
    data = bytearray(saved[0].read_bytes())
    data[-1] ^= 1
    saved[0].write_bytes(data)
    with pytest.raises(UserError, match="damaged.*sha256"):
        load_classifier(saved[0])


def test_files_that_are_not_weights_are_refused(saved, tmp_path):
    save_file(load_file(saved[0]), saved[0])
    with pytest.raises(UserError, match="does not say which encoder.*--mode=export_weights"):
        load_classifier(saved[0])
    saved[0].write_bytes(saved[0].read_bytes()[:-100])
    with pytest.raises(UserError, match="not a safetensors file, or damaged"):
        load_classifier(saved[0])
    with pytest.raises(UserError, match="no weights file"):
        load_classifier(tmp_path / "absent.h5")
    for name, message in (("x.pkl", "must be .h5"), ("x.h5", "not an HDF5 file")):
        (tmp_path / name).write_bytes(b"no weights")
        with pytest.raises(UserError, match=message):
            load_classifier(tmp_path / name)


@pytest.fixture
def keras(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    return pytest.importorskip("keras")


@pytest.mark.parametrize("suffix", [".h5", ".weights.h5"])
def test_both_layouts_of_keras_files_load(keras, tmp_path, suffix):
    source = keras.applications.MobileNetV2(
        alpha=0.35, weights=None, include_top=False, input_shape=(32, 32, 3)
    )
    path = tmp_path / f"weights{suffix}"
    source.save(path) if suffix == ".h5" else source.save_weights(path)
    model = encoders.make("mobilenet_v2", width=0.35, num_classes=0)
    shapes = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False)
    )
    loaded = pretrained.load(str(path), "mobilenet_v2", model, shapes)
    expected = pretrained.fit(shapes, keras_weights.from_model(source), "mobilenet_v2", "keras")
    assert_equal(loaded, expected)


def test_the_oldest_keras_names_load(tmp_path):
    """keras' VGG files of 2016 call a kernel block1_conv1_W_1:0."""
    h5py = pytest.importorskip("h5py")
    model, variables = variables_of("vgg_tiny")
    with h5py.File(tmp_path / "vgg.h5", "w") as file:
        file.attrs["layer_names"] = [n.encode() for n in ["input_1", *model.layer_order()]]
        file.create_group("input_1").attrs["weight_names"] = []
        for layer in model.layer_order():
            group = file.create_group(layer)
            names = {f"{layer}_W_1:0": "kernel", f"{layer}_b_1:0": "bias"}
            group.attrs["weight_names"] = [n.encode() for n in names]
            for name, ours in names.items():
                group[name] = np.asarray(variables["params"][layer][ours])
    _, fresh = variables_of("vgg_tiny", seed=1)
    assert_equal(pretrained.load(tmp_path / "vgg.h5", "vgg_tiny", model, fresh), variables)


def test_imagenet_asks_keras_for_the_right_file(keras, monkeypatch):
    asked = []

    def application(weights, include_top, input_shape, alpha):
        asked.append((weights, include_top))
        shape = input_shape or (32, 32, 3)
        return mobilenet(weights=None, include_top=include_top, input_shape=shape, alpha=alpha)

    mobilenet = keras.applications.MobileNetV2
    monkeypatch.setattr(keras.applications, "MobileNetV2", application)
    model = encoders.make("mobilenet_v2", width=0.35, num_classes=1000)
    shapes = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False)
    )
    pretrained.load("imagenet", "mobilenet_v2", model, shapes)
    pretrained.load("imagenet", "mobilenet_v2", model, shapes, keep=("predictions",))
    assert asked == [("imagenet", True), ("imagenet", False)]


def test_imagenet_without_network_names_the_ways_out(keras, monkeypatch):
    def unreachable(**_):
        raise Exception("URL fetch failure on https://storage.googleapis.com/...")

    monkeypatch.setattr(keras.applications, "MobileNetV2", unreachable)
    model, variables = variables_of("mobilenet_v2")
    with pytest.raises(UserError, match="URL fetch failure.*path to a weights file.*''"):
        pretrained.load("imagenet", "mobilenet_v2", model, variables)


def test_imagenet_without_keras_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", None)
    model = encoders.make("vgg16")
    with pytest.raises(UserError, match=re.escape('pip install -e ".[pretrained]"')):
        pretrained.load("imagenet", "vgg16", model, {})


def test_imagenet_weights_that_nobody_published_are_refused():
    with pytest.raises(UserError, match="no ImageNet weights for 'resnet18'.*resnet50"):
        pretrained.load("imagenet", "resnet18", encoders.make("resnet18"), {})
    with pytest.raises(UserError, match="width.*0.2"):
        pretrained.load("imagenet", "mobilenet_v2", encoders.make("mobilenet_v2", width=0.2), {})


def test_a_real_mobilenet_sees_streets(shared_data, tmp_path):
    path = shared_data / quantized_mobilenet.FILE
    variables = quantized_mobilenet.read(path)
    images = street_photos(shared_data / "streets" / "streets.tar", 16)
    model = encoders.make("mobilenet_v2", num_classes=quantized_mobilenet.CLASSES)
    apply = jax.jit(lambda v, x: model.apply(v, x, train=False))
    logits = apply(variables, images)
    top5 = np.argsort(-logits)[:, :5] - 1  # without the background class
    seen = np.mean([bool(STREET & set(row)) for row in top5.tolist()])
    assert seen >= 0.75  # about 0.12 by chance

    calibrated = quantized_mobilenet.calibrate(variables, images)
    np.testing.assert_allclose(apply(calibrated, images), logits, atol=1e-3)

    quantized_mobilenet.save_encoder(tmp_path / "mobilenet.safetensors", variables)
    encoder = encoders.make("mobilenet_v2")
    shapes = jax.eval_shape(lambda: encoder.init(jax.random.key(0), images, train=False))
    loaded = pretrained.load(tmp_path / "mobilenet.safetensors", "mobilenet_v2", encoder, shapes)
    flat = traverse_util.flatten_dict(variables, sep="/")
    for name, value in traverse_util.flatten_dict(loaded, sep="/").items():
        np.testing.assert_array_equal(value, flat[name])


def street_photos(archive, count):
    """The first photos of the tar, uint8 [count, 224, 224, 3]."""
    photos = []
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.name.endswith(".jpg"):
                with Image.open(tar.extractfile(member)) as image:
                    photos.append(np.asarray(image.convert("RGB").resize((224, 224))))
            if len(photos) == count:
                return np.stack(photos)
    raise ValueError(f"{archive} holds fewer than {count} photos")
