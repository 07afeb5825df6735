"""The perception benchmarks: their baselines, their sampled votes, and their stream of photos."""

import jax
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict
from sklearn.linear_model import Ridge

from benchmarks import jax_side, perception_folds, street_streaming
from benchmarks.gpu.systems import SYSTEMS
from configs import perception as perception_config
from jaxvision.input_pipeline.readers import perception
from tests.benchmarks.test_throughput import random_variables


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of 60 JPEGs and their scores.csv."""
    folder = tmp_path_factory.mktemp("photos")
    street_streaming.make_photos(folder, 60)
    return folder


def make_config(folder):
    config = perception_config.get_config()
    config.data.path, config.data.image_size = str(folder), 48
    config.data.folds = 3
    config.data.fractions = dict(train=0.6, val=0.3, test=0.1)
    return config


def test_ridge_equals_scikit_learn():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 5)), rng.normal(size=(40, 2))
    weights, intercept = perception_folds.ridge(x, y, 0.7)
    expected = Ridge(alpha=0.7).fit(x, y)
    np.testing.assert_allclose(x @ weights + intercept, expected.predict(x), rtol=1e-6)


def test_baselines_know_nothing_or_colours(photos):
    found = perception_folds.baselines(perception.load(make_config(photos)))
    assert found["mean"]["pearson"] == pytest.approx(0, abs=1e-6)
    assert found["mean"]["r2"] <= 0
    # Light is in the colours, and safe streets are light.
    assert found["colour histogram + ridge"]["pearson_safe"] > 0.3


def test_sampled_votes_agree_with_the_scores(photos, tmp_path):
    config = make_config(perception_folds.add_votes(photos, tmp_path, 200, seed=0))
    config.loss.votes = 1.0
    dataset = perception.load(config)
    composite = dataset.training.read
    scores = composite.pool.read.columns["score"][composite.parts]  # [P, 2, A]
    votes = composite.columns["votes"]
    ahead = scores[:, 0] - scores[:, 1]
    right = np.where(ahead > 0, votes[..., 0], votes[..., 1])
    assert right.sum() > 0.9 * votes[..., :2].sum() and votes[..., 2].sum() > 0


def test_photos_stream_in_shuffled_batches(photos, tmp_path):
    config = street_streaming.make_config(photos, 8)
    config.data.image_size = 48
    run = jax_side.make_run(config, str(tmp_path))
    batches = street_streaming.stream(run, 0)
    first = next(batches)
    assert first["image"].shape == (8, 48, 48, 3)
    assert not np.array_equal(first["image"], next(batches)["image"])
    found = street_streaming.memory_over(batches, 80, 8)
    assert list(found) == [str(8 * i) for i in range(11)] and min(found.values()) > 0.1


def mirrored(kernel):
    return np.ascontiguousarray(kernel[::-1, ::-1].transpose(3, 2, 0, 1))


def copy_into(model, variables):
    """Our arrays in the PyTorch scorer; kernels mirrored, as SAME pads the far sides alone."""
    import torch

    in_encoder = {p: a for p, a in variables.items() if p[1] == "encoder"}
    kernels = [a for p, a in in_encoder.items() if p[-1] == "kernel"]
    layers = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    for kernel, layer in zip(kernels, layers, strict=True):
        layer.weight.data = torch.from_numpy(mirrored(kernel))
    names = [p[1:-1] for p in in_encoder if p[-1] == "scale"]
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for name, layer in zip(names, norms, strict=True):
        layer.weight.data = torch.from_numpy(variables["params", *name, "scale"])
        layer.bias.data = torch.from_numpy(variables["params", *name, "bias"])
        layer.running_mean = torch.from_numpy(variables["batch_stats", *name, "mean"].copy())
        layer.running_var = torch.from_numpy(variables["batch_stats", *name, "var"].copy())
    for i, head in enumerate(model.heads):
        norm, *dense = [m for m in head if isinstance(m, torch.nn.Linear | torch.nn.BatchNorm1d)]
        for target, kind, name in (
            (norm.weight, "params", "scale"),
            (norm.bias, "params", "bias"),
            (norm.running_mean, "batch_stats", "mean"),
            (norm.running_var, "batch_stats", "var"),
        ):
            array = variables[kind, f"heads_{i}", "features_bn", name]
            target.data = torch.from_numpy(array.copy())
        for name, layer in zip(("hidden0", "hidden1", "out"), dense, strict=True):
            layer.weight.data = torch.from_numpy(
                variables["params", f"heads_{i}", name, "kernel"].T.copy()
            )
            layer.bias.data = torch.from_numpy(variables["params", f"heads_{i}", name, "bias"])


@pytest.mark.parametrize("system", ["perception", "perception_finetuned"])
def test_torch_scorer_is_ours(tmp_path, system):
    torch = pytest.importorskip("torch")
    from benchmarks import perception_torch

    torch.set_num_threads(1)
    config = SYSTEMS[system].config(True, tmp_path)
    config.data.crop_size, config.model.dropout = 32, 0.0
    run = jax_side.make_run(config, str(tmp_path))
    variables, batch = random_variables(run), jax_side.first_batch(run)
    model = perception_torch.make_model(config, batch)
    copy_into(model, variables)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained == jax_side.trained_parameters(jax_side.state_shapes(run))

    images = batch["image"][:, 4:36, 4:36]  # what both see; a mirror image under mirrored kernels
    model.crop = 32
    turned = np.ascontiguousarray(images[:, ::-1, ::-1])
    theirs = perception_torch.make_predict(model, config, turned)().numpy()
    ours = jax.jit(run.task.model.predict)(unflatten_dict(variables), batch["image"])["score"]
    scale = run.dataset.info
    np.testing.assert_allclose(
        ours, np.array(scale["mean"]) + np.array(scale["std"]) * theirs, atol=2e-3
    )
    step = perception_torch.make_train_step(model, config, batch)
    losses = [float(step()) for _ in range(20)]
    assert losses[-1] < losses[0]
    moved = model.encoder.stem[1].running_mean.numpy()
    frozen = system == "perception"
    assert np.array_equal(moved, variables["batch_stats", "encoder", "bn_Conv1", "mean"]) == frozen
