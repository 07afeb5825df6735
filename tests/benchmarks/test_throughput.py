"""The benchmarks measure what they say: the PyTorch U-Net is ours, and the rates are rates."""

import json
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from benchmarks import convolutions, crash_resume, jax_side, throughput, timing
from configs import unet
from jaxvision import losses
from jaxvision.checkpoint import open_checkpoints
from jaxvision.models import conv
from jaxvision.tasks import segmentation
from jaxvision.training.run import initial_state, make_optimizer


def tiny_config():
    config = unet.get_config()
    config.model.encoder.name = "mobilenet_v2_tiny"
    config.model.decoder_widths = (8, 8, 8, 8, 8)
    config.data.image_size = 32
    config.data.synthetic_examples = dict(train=6, val=2, test=2)
    config.batch_size = 2
    return config


@pytest.fixture
def tiny_run(tmp_path):
    return jax_side.make_run(tiny_config(), str(tmp_path))


@pytest.fixture
def torch():
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)  # two threads wait for each other where another process is busy
    return torch


def trained_parameters(run):
    return jax_side.trained_parameters(jax_side.state_shapes(run))


def test_torch_unet_has_as_many_parameters_and_one_logit_a_pixel(tmp_path, torch):
    from benchmarks import unet_torch

    config = tiny_config()
    config.model = unet.get_config().model  # the model of the config, as it is trained
    model = unet_torch.make_model(config)
    run = jax_side.make_run(config, str(tmp_path))
    assert sum(p.numel() for p in model.parameters()) == trained_parameters(run)
    assert model(torch.zeros(2, 64, 32, 3, dtype=torch.uint8)).shape == (2, 64, 32)


def random_variables(run):
    """{path: array} of values that no two layers share, in the order in which layers are called."""
    model, batch = run.task.model, jax_side.first_batch(run)
    shapes = flatten_dict(jax.eval_shape(model.init, jax.random.key(0), batch))
    rng, values = np.random.default_rng(0), {}
    for path in jax_side.in_call_order(run):
        shape = shapes[path].shape
        if path[-1] == "kernel":
            value = rng.normal(size=shape) * (2 / np.prod(shape[:-1])) ** 0.5
        else:
            value = rng.normal(0 if path[-1] in ("bias", "mean") else 1, 0.1, shape)
        values[path] = value.astype(np.float32)
    return values


def test_torch_unet_with_our_weights_gives_our_probabilities(tiny_run, torch):
    from benchmarks import unet_torch

    variables, images = random_variables(tiny_run), jax_side.first_batch(tiny_run)["image"]
    parts = [
        {path[1:]: a for path, a in variables.items() if path[0] == part}
        for part in ("params", "batch_stats")
    ]
    model = unet_torch.make_model(tiny_run.config).eval()
    unet_torch.load_turned(model, *parts)
    with torch.inference_mode():
        theirs = model(torch.from_numpy(images).flip(1, 2)).sigmoid().flip(1, 2)
    ours = jax.jit(tiny_run.task.model.predict)(unflatten_dict(variables), images)["probability"]
    assert np.ptp(ours) > 0.1
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_torch_loss_is_ours(torch):
    from benchmarks import unet_torch

    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 8, 8)).astype(np.float32)
    mask = rng.choice([0, 1, 255], (2, 8, 8)).astype(np.uint8)
    labels, weights = (mask == 1).astype(np.float32), (mask != 255).astype(np.float32)
    ours = losses.binary_cross_entropy(logits, labels, weights)
    ours += losses.soft_dice(logits, labels, weights)
    theirs = unet_torch.bce_dice(torch.from_numpy(logits), torch.from_numpy(mask))
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)


def test_torch_learns(tiny_run, torch):
    from benchmarks import unet_torch

    torch.manual_seed(0)
    model = unet_torch.make_model(tiny_run.config)
    step = unet_torch.make_train_step(model, tiny_run.config, jax_side.first_batch(tiny_run))
    loss = [float(step()) for _ in range(15)]
    assert loss[-1] < loss[0]


def linear_task(config, info):
    """The task with one weight a channel for a model, which compiles in no time."""

    def logits(params, images):
        return (images.astype(jnp.float32) / 255) @ params["w"]

    def loss(params, extra, batch, key):
        value = jnp.square(logits(params, batch["image"]) - batch["mask"]).mean()
        return value, (extra, {"loss": (value, jnp.ones(()))})

    task = segmentation.make(config, info)
    model = task.model._replace(
        init=lambda key, batch: {"params": {"w": jnp.zeros(3)}},
        load_weights=lambda variables: variables,
        loss=loss,
        predict=lambda variables, images: {"probability": logits(variables["params"], images)},
    )
    return task._replace(model=model)


def test_throughput_of_a_tiny_config(monkeypatch):
    monkeypatch.setattr("jaxvision.training.run.find_task", linear_task)
    result = throughput.measure(tiny_config(), False, compiled=False, rounds=2, seconds=0.02)
    throughput.show({"machine": timing.machine(), "start_up": {}, **result})
    rates = result["images_per_second"]
    assert set(rates) == {"jax step", "jax loop", "jax loop, streaming", "jax inference"}
    assert all(len(rounds) == 2 and min(rounds) > 0 for rounds in result["rounds"].values())
    ratio = result["ratios"]["jax loop / jax step"]
    assert ratio == pytest.approx(rates["jax loop"] / rates["jax step"])
    json.dumps(result)


def test_the_onnx_export_is_timed_on_the_same_batch(tiny_run):
    pytest.importorskip("onnxruntime")
    state, batch = initial_state(tiny_run, make_optimizer(tiny_run)), jax_side.first_batch(tiny_run)
    assert jax_side.onnx_inference(tiny_run, state, batch["image"]).run(3) == 4


def test_torch_is_timed_on_the_same_batch(tiny_run, torch):
    batch, count = jax_side.first_batch(tiny_run), trained_parameters(tiny_run)
    found = throughput.torch_contestants(tiny_run.config, batch, count, compiled=False)
    assert {name: found[name].run(3) for name in found} == {"torch step": 4, "torch inference": 4}


def test_a_model_that_torch_lacks_is_refused(tiny_run, torch):
    config = tiny_config()
    config.model.encoder.name = "resnet_tiny"
    with pytest.raises(ValueError, match="resnet_tiny.*--no_torch"):
        throughput.torch_contestants(config, jax_side.first_batch(tiny_run), 0, compiled=False)
    with pytest.raises(ValueError, match="parameters"):
        throughput.torch_contestants(
            tiny_config(), jax_side.first_batch(tiny_run), 1, compiled=False
        )


def test_turns_go_round_and_untimed_work_is_not_counted():
    order = []

    def contestant(name):
        def run(count):
            order.append(name)
            time.sleep(0.001 * count)
            return count

        return timing.Contestant(run, warm_up=2)

    rates = timing.in_turn({"a": contestant("a"), "b": contestant("b")}, 3, seconds=0.01)
    assert order[-12:] == ["a", "a", "b", "b"] * 3
    assert all(100 < rate < 1000 for rate in (*rates["a"], *rates["b"]))


def test_convolution_forms_agree():
    for case in convolutions.CASES.values():
        small = (2, *(min(side, 4) for side in case.image[1:3]), 6)
        groups = case.image[3] // case.kernel[2]
        rng = np.random.default_rng(0)
        image = rng.normal(size=small).astype(np.float32)
        kernel = rng.normal(size=(*case.kernel[:2], 6 // min(groups, 6), 6)).astype(np.float32)
        outputs = [
            form(
                image,
                kernel,
                window_strides=(1, 1),
                padding="SAME",
                dimension_numbers=conv.NHWC,
                feature_group_count=min(groups, 6),
            )
            for form in case.forms.values()
        ]
        for output in outputs[1:]:
            np.testing.assert_allclose(outputs[0], output, atol=1e-4)


@pytest.fixture
def finished_runs(tmp_path):
    """Two folders whose runs ended equal."""
    state = {"params": {"w": jnp.arange(3.0)}, "ema": {}, "step": jnp.ones((), jnp.int32)}
    for name in ("a", "b"):
        (tmp_path / name / "run").mkdir(parents=True)
        checkpoints = open_checkpoints(str(tmp_path / name / "run"), higher_is_better=True)
        checkpoints.save(5, state, {}, None)
        checkpoints.wait()
        row = {"step": 5, "train/loss": 0.5, "images_per_second": ord(name)}
        (tmp_path / name / "run" / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    return tmp_path / "a", tmp_path / "b"


def test_equal_runs_are_found_equal(finished_runs):
    wrong, compared = crash_resume.differences(*finished_runs)
    assert not wrong
    assert compared["params"] == 1 and compared["losses"] == 1


def test_one_bit_and_one_metric_are_noticed(finished_runs):
    a, b = finished_runs
    checkpoints = open_checkpoints(str(b / "run"), higher_is_better=True)
    weights = jnp.asarray([0.0, 1.0, np.nextafter(np.float32(2), 3)])
    state = {"params": {"w": weights}, "ema": {}, "step": jnp.ones((), jnp.int32)}
    checkpoints.save(6, state, {}, None)
    checkpoints.wait()
    (b / "run" / "metrics.jsonl").write_text(json.dumps({"step": 5, "train/loss": 0.6}) + "\n")
    wrong, _ = crash_resume.differences(a, b)
    assert any("['params']['w'] differs" in line for line in wrong)
    assert any("checkpoint differs" in line for line in wrong)
    assert any("0.6" in line for line in wrong)
