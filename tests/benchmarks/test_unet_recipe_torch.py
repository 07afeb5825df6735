"""The recipe in PyTorch is ours: the same losses from the first steps on, the same metrics."""

import json

import numpy as np
import pytest

from benchmarks import jax_side
from configs import unet
from jaxvision import evaluate, logs
from jaxvision.input_pipeline import loader
from jaxvision.sharding import make_mesh
from jaxvision.training.advance import make_advance
from jaxvision.training.run import initial_state, make_optimizer, prepare
from jaxvision.training.train_state import eval_variables


@pytest.fixture
def torch():
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)  # two threads wait for each other where another process is busy
    return torch


@pytest.fixture
def config(tmp_path):
    config = unet.get_config()
    config.model.encoder.name = "mobilenet_v2_tiny"
    config.model.encoder.weights = jax_side.random_weights(config, tmp_path)
    config.model.decoder_widths = (8, 8, 8, 8, 8)
    config.data.image_size = 64
    config.data.crop_size = 32
    config.augment.zoom = 0.2
    config.data.synthetic_examples = dict(train=6, val=3, test=2)
    config.batch_size, config.train.steps, config.train.ema_decay = 2, 4, 0.5
    config.log.every_steps, config.eval.every_epochs = 1, 0.667
    return config


def make_run(config):
    dataset, mesh = loader.load_dataset(config), make_mesh({"batch_size": config.batch_size})
    return prepare(config, "", dataset, mesh)


def our_losses(run):
    """The loss of each step, and the variables at the end."""
    feed = loader.open_training_feed(run.dataset, run.config, run.mesh)
    advance, found = make_advance(run, feed, 0), [0.0]
    state = initial_state(run, make_optimizer(run))
    for step in range(run.total_steps):
        state, _ = advance(state, step, 1)
        found.append(float(state.sums["loss"][0]))
    return np.diff(found), eval_variables(state, run.config.train.ema_decay)


@pytest.mark.parametrize("learning", [False, True], ids=["frozen", "learning"])
def test_losses_and_metrics_are_ours(config, torch, learning):
    from benchmarks import unet_recipe_torch as recipe

    if learning:
        config.model.encoder.freeze, config.model.encoder.inference_mode = False, True
        config.optimizer.encoder_lr_scale = 0.3
    run = make_run(config)
    losses, variables = our_losses(run)
    model = recipe.make_model(run)
    average = recipe.make_average(model, 0.5)
    step, theirs = recipe.make_steps(run, model), []
    for i in range(run.total_steps):
        theirs.append(float(step(i)))
        average.update_parameters(model)
    np.testing.assert_allclose(theirs, losses, rtol=1e-4)
    feed = loader.open_feed(run.dataset, "val", run.config, run.mesh)
    ours = evaluate.measure(run.metrics, variables, feed, 2, 0)
    measured, report = recipe.measure(run, average, "val"), run.task.report
    ours, theirs = (report.metrics(m, {"threshold": 0.5}) for m in (ours, measured))
    assert theirs["loss"] == pytest.approx(ours["loss"], rel=1e-3)


def test_the_frozen_encoder_stays(config, torch):
    from benchmarks import unet_recipe_torch as recipe

    run = make_run(config)
    model = recipe.make_model(run)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    recipe.make_steps(run, model)(0)
    changed = {n.split(".")[0] for n, t in model.state_dict().items() if not t.equal(before[n])}
    assert changed == {"ups", "head"}


def test_a_run_leaves_its_log_and_its_best_step(config, torch, tmp_path):
    from benchmarks import unet_recipe_torch as recipe

    run = make_run(config)
    log = logs.RunLog(str(tmp_path), run.total_steps, run.config.batch_size, 0)
    found = recipe.train(run, log)
    log.close()
    steps = [v["step"] for v in found["validation"]]
    best = max(found["validation"], key=lambda v: v["iou"])
    assert steps == [2, 4] and found["best_step"] == best["step"]
    assert found["test"]["threshold"] == best["threshold"]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert sum("train/loss" in line for line in lines) == 4
    assert lines[-1]["test/iou"] == found["test"]["iou"]
