"""Frozen means frozen, unfrozen moves, and weights get into a run and out of it whole."""

import functools
import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from PIL import Image
from safetensors import safe_open

from jaxvision import evaluate
from jaxvision.errors import UserError
from jaxvision.export import encoder_weights as export
from jaxvision.models import encoder_options, encoders, keras_weights, pretrained
from jaxvision.trained import load_trained
from jaxvision.training import optimizers
from jaxvision.training.train_state import merge_params, split_params
from tests.tiny import final_state, open_run, tiny_config, train_in

TINY = [name for name in encoders.ENCODERS if "tiny" in name]
NAME = "mobilenet_v2_tiny"


def encoder_variables(name=NAME, **fields):
    """(module, random variables as of a trained encoder: no zeros, no ones)."""
    model = encoders.make(name, **fields)
    images = jnp.zeros((1, 32, 32, 3))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=False))
    rng = np.random.default_rng(0)
    kernel = {True: lambda s: rng.normal(0, 0.2, s), False: lambda s: rng.uniform(0.5, 1.5, s)}
    return model, jax.tree.map(lambda s: jnp.asarray(kernel[s.ndim > 1](s.shape), s.dtype), shapes)


@pytest.fixture(autouse=True, scope="module")
def compiled_once(tmp_path_factory):
    """The tests share their compiled programs: most differ in the weights alone."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("xla")))
    yield
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A short run on the built-in data: (config, workdir)."""
    workdir = tmp_path_factory.mktemp("trained")
    options = {"model__encoder__weights": "auto", "train__ema_decay": 0.5, "train__steps": 2}
    return train_in(workdir, **options), str(workdir)


@pytest.fixture
def weights(tmp_path):
    """A file of encoder weights: (path, variables)."""
    model, variables = encoder_variables()
    path = tmp_path / "encoder.safetensors"
    pretrained.save(path, NAME, model, variables, "a test")
    return str(path), variables


@pytest.fixture
def photos(tmp_path):
    """A folder of four photos with masks."""
    rng = np.random.default_rng(0)
    for folder, shape in (("images", (32, 32, 3)), ("masks", (32, 32))):
        for split, i in (("train", 0), ("train", 1), ("val", 2), ("test", 3)):
            pixels = 255 * (rng.random(shape) < 0.5)
            path = tmp_path / "photos" / split / folder / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    return str(tmp_path / "photos")


def assert_equal(ours, expected):
    assert jax.tree.structure(ours) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, ours, expected)


def encoder_of(state):
    """{collection: tree} of the encoder in a train state, frozen or not."""
    params = {**state.params.get("encoder", {}), **state.frozen.get("encoder", {})}
    extra = {name: tree["encoder"] for name, tree in state.extra.items() if "encoder" in tree}
    return jax.device_get({"params": params, **extra})


def test_a_frozen_encoder_leaves_a_run_as_it_came(weights, tmp_path):
    path, variables = weights
    config = train_in(tmp_path / "run", model__encoder__weights=path, train__steps=2)
    state = final_state(tmp_path / "run", config)
    assert_equal(encoder_of(state), variables)
    assert "encoder" not in state.params and "encoder" in state.frozen
    counts = 2  # Adam's and the schedule's
    moments = 2 * len(jax.tree.leaves(state.params))
    assert len(jax.tree.leaves(state.opt_state)) == moments + counts


@pytest.mark.parametrize("name", TINY)
def test_layers_before_the_first_unfrozen_one_stay_and_the_others_move(name):
    _, variables = encoder_variables(name)
    order = encoders.make(name).layer_order()
    start = len(order) // 2
    config = tiny_config(
        model__encoder__name=name,
        model__encoder__weights="a file",
        model__encoder__unfreeze_from=order[start],
    )
    encoder = encoder_options.make(config)
    params = {"encoder": variables["params"]}
    extra = {k: v for k, v in variables.items() if k != "params"}
    trained, frozen = split_params(params, functools.partial(encoder_options.trainable, encoder))
    images = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3)).astype(np.uint8)

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def gradient(trained):
        stages, updated = encoder.model.apply(
            {"params": merge_params(trained, frozen)["encoder"], **extra},
            images,
            train=True,
            mutable=list(extra),
            rngs={"dropout": jax.random.key(0)},
        )
        return sum((x**2).mean() for x in stages.values()), updated

    grads, updated = gradient(trained)
    moved = {path[1] for path, g in flatten_dict(grads).items() if np.abs(g).max() > 0}
    assert moved == set(variables["params"]) & set(order[start:])
    for (layer, statistic), value in flatten_dict(updated.get("batch_stats", {})).items():
        same = np.array_equal(value, variables["batch_stats"][layer][statistic])
        assert same == (layer in order[:start]), layer


def test_in_inference_mode_layers_learn_on_the_statistics_that_they_began_with():
    _, variables = encoder_variables()
    config = tiny_config(
        model__encoder__weights="a file",
        model__encoder__freeze=False,
        model__encoder__inference_mode=True,
    )
    encoder = encoder_options.make(config)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def gradient(params):
        inputs = {**variables, "params": params}
        stages, updated = encoder.model.apply(inputs, images, train=True, mutable=list(variables))
        return sum((x**2).mean() for x in stages.values()), updated

    grads, updated = gradient(variables["params"])
    assert_equal(updated["batch_stats"], variables["batch_stats"])
    for path, values in flatten_dict({"encoder": grads}).items():
        assert encoder_options.trainable(encoder, path) and np.abs(values).max() > 0, path


@pytest.mark.parametrize("name", TINY)
def test_a_frozen_encoder_computes_in_training_what_it_does_in_evaluation(name):
    deep = {"repeats": (1, 1, 1, 1, 1, 2, 1)} if name == "efficientnet_tiny" else {}
    model, variables = encoder_variables(name, num_classes=0, **deep)
    model = model.clone(frozen=tuple(model.layer_order()))
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)

    @jax.jit
    def both(variables):
        trained = model.apply(variables, images, train=True, mutable=list(variables))
        return trained, model.apply(variables, images, train=False)

    (output, updated), expected = both(variables)
    assert_equal(output, expected)
    if "batch_stats" in variables:
        assert_equal(updated["batch_stats"], variables["batch_stats"])


def test_the_encoder_learns_at_a_tenth_of_the_rate():
    rng = np.random.default_rng(0)
    params = {
        part: {"kernel": rng.normal(size=(3, 4)).astype(np.float32), "bias": np.ones(4, np.float32)}
        for part in ("encoder", "head")
    }
    grads = jax.tree.map(lambda p: rng.normal(size=p.shape).astype(np.float32), params)

    def first_update(scale):
        config = tiny_config(optimizer__name="sgd", optimizer__encoder_lr_scale=scale)
        optimizer = optimizers.make_optimizer(config, 10)
        return optimizer.update(grads, optimizer.init(params), params)[0]

    whole, scaled = first_update(1.0), first_update(0.1)
    assert_equal(scaled["head"], whole["head"])
    tenth = jax.tree.map(lambda u: u * np.float32(0.1), whole["encoder"])
    assert_equal(scaled["encoder"], tenth)


def test_a_rate_for_an_encoder_that_does_not_learn_is_refused(weights, tmp_path):
    with pytest.raises(UserError, match="encoder_lr_scale.*no encoder is trained"):
        train_in(
            tmp_path / "run", model__encoder__weights=weights[0], optimizer__encoder_lr_scale=0.1
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "overrides, expected",
    [
        ({}, ("", False)),
        ({"data__path": "photos"}, ("imagenet", True)),
        ({"data__path": "photos", "model__encoder__freeze": False}, ("imagenet", False)),
        ({"data__path": "photos", "model__encoder__weights": ""}, ("", False)),
        ({"model__encoder__weights": "imagenet"}, ("imagenet", True)),
        ({"model__encoder__weights": "a.h5", "model__encoder__freeze": False}, ("a.h5", False)),
    ],
)
def test_auto_follows_the_data_and_gives_way_to_what_is_said(overrides, expected):
    encoder = encoder_options.make(tiny_config(**{"model__encoder__weights": "auto", **overrides}))
    assert (encoder.weights, encoder.freeze) == expected
    frozen = not encoder_options.trainable(encoder, ("encoder", "Conv1", "kernel"))
    assert frozen == encoder.freeze
    assert encoder_options.trainable(encoder, ("head", "kernel"))


def test_auto_means_no_other_model_when_judged_on_other_data(photos, trained):
    config = tiny_config(model__encoder__weights="auto", data__path=photos)
    evaluate.evaluate_workdir(config, trained[1], "all")
    assert json.loads(Path(trained[1], "evaluation.json").read_text())["examples"] == 4


def test_weights_that_cannot_be_had_leave_no_run(photos, tmp_path):
    auto = {"model__encoder__weights": "auto", "data__path": photos}
    with pytest.raises(UserError, match="no ImageNet weights.*a path.*'' to train from scratch"):
        train_in(tmp_path / "run", **auto)
    assert not (tmp_path / "run").exists()
    (tmp_path / "mine").mkdir()
    with pytest.raises(UserError, match="ImageNet"):
        train_in(tmp_path / "mine", **auto)
    assert not (tmp_path / "mine" / "config.json").exists()


def test_a_resumed_run_needs_its_weights_no_more(weights, tmp_path):
    path, variables = weights
    options = {
        "model__encoder__weights": path,
        "model__encoder__unfreeze_from": "block_3_expand",
        "optimizer__schedule": "constant",  # the same in a shorter run
    }
    train_in(tmp_path / "whole", train__steps=4, **options)
    train_in(tmp_path / "run", train__steps=2, **options)
    Path(path).unlink()
    config = train_in(tmp_path / "run", train__steps=4, **options)
    state, whole = (final_state(tmp_path / run, config) for run in ("run", "whole"))
    assert_equal(state, whole)
    after, order = encoder_of(state), encoders.make(NAME).layer_order()
    for collection, layers in variables.items():
        for layer, before in layers.items():
            unchanged = jax.tree.map(np.array_equal, before, after[collection][layer])
            frozen = order.index(layer) < order.index("block_3_expand")
            assert all(unchanged.values()) == frozen, layer


@pytest.mark.parametrize(
    "options, message",
    [
        ({"freeze": True}, "random weights"),
        ({"inference_mode": True}, "statistics that random weights do not have"),
        ({"unfreeze_from": "block_3_expand"}, "the whole encoder is trained"),
        ({"unfreeze_from": "block_3_expnd"}, "no layer of 'mobilenet_v2_tiny'.*block_3_expand"),
        ({"unfreeze_from": "?"}, "no layer.*Conv1, "),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, message, tmp_path):
    with pytest.raises(UserError, match=message):
        train_in(tmp_path, **{f"model__encoder__{name}": value for name, value in options.items()})


def load_encoder(path):
    model, variables = encoder_variables()
    return pretrained.load(str(path), NAME, model, jax.eval_shape(lambda: variables))


def source_of(path):
    with safe_open(path, "numpy") as file:
        return json.loads(file.metadata()[pretrained.HEADER])["source"]


def test_what_a_run_exports_another_begins_with(trained, tmp_path):
    config, workdir = trained
    export.export_weights(config, workdir, "")
    path = Path(workdir, "encoder.safetensors")
    model = load_trained(config, workdir)
    expected = {name: tree["encoder"] for name, tree in model.variables.items()}
    assert_equal(load_encoder(path), expected)
    assert source_of(path) == f"step {model.step} of {workdir}, trained with weights='auto'"
    _, _, state = open_run(tiny_config(model__encoder__weights=str(path)), tmp_path / "next")
    assert_equal(encoder_of(state), jax.device_get(expected))


def test_published_weights_are_converted_without_a_run(tmp_path, monkeypatch):
    _, variables = encoder_variables()
    flat = {"/".join(path): np.asarray(v) for path, v in flatten_dict(variables).items()}
    monkeypatch.setattr(keras_weights, "fetch", lambda name, model, with_top: flat)
    config = tiny_config(model__encoder__weights="imagenet")
    path = tmp_path / "new" / "tiny.safetensors"
    export.export_weights(config, "", str(path))
    assert_equal(load_encoder(path), variables)
    assert source_of(path) == "imagenet"
    with pytest.raises(UserError, match="needs --output"):
        export.export_weights(config, "", "")
    with pytest.raises(UserError, match="nothing to export"):
        export.export_weights(tiny_config(), "", str(path))
    with pytest.raises(UserError, match="cannot write"):
        export.export_weights(config, "", str(path / "below_a_file.safetensors"))


def test_the_command_converts_a_file(weights, tmp_path):
    root = Path(__file__).parents[2]
    arguments = ["--mode=export_weights", f"--output={tmp_path / 'copy.safetensors'}"]
    config = [
        f"--config={root / 'configs' / 'unet.py'}",
        f"--config.model.encoder.name={NAME}",
        f"--config.model.encoder.weights={weights[0]}",
    ]
    command = [sys.executable, "main.py", *arguments]
    subprocess.run([*command, *config], cwd=root, check=True, capture_output=True)
    assert_equal(load_encoder(tmp_path / "copy.safetensors"), weights[1])
    refused = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert refused.returncode == 2 and "no --workdir given" in refused.stderr
