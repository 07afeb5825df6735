"""The PyTorch RAM that ours is timed against is the same model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import ram
from jaxvision.models import ram as ram_model
from jaxvision.models.retina import Retina
from jaxvision.tasks import attention


@pytest.fixture
def torch():
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)  # two threads wait for each other where another process is busy
    return torch


def test_both_torch_retinas_are_ours(torch):
    from benchmarks import ram_torch

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, 14, 14, 1), np.uint8)
    locations = rng.uniform(-1, 1, (30, 2)).astype(np.float32)
    retina = Retina(8, 1, 2)
    seen = ram_model.look(retina, ram_model.pad(retina, images), jnp.asarray(locations))
    ours = np.asarray(seen).reshape(30, -1)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    for kind in (ram_torch.Looped, ram_torch.Vectorised):
        theirs = kind(pixels, 8)(torch.from_numpy(locations)).numpy()
        np.testing.assert_allclose(theirs, ours, atol=1e-6, err_msg=kind.__name__)


def test_torch_model_has_our_parameters_and_learns(torch):
    from benchmarks import ram_torch

    config = ram.get_config("mnist")
    config.model.first = "random"
    task = attention.make(config, {"shape": [28, 28, 1], "classes": list("0123456789")})
    labels = (np.arange(16) % 10).astype(np.int32)
    shades = np.broadcast_to((25 * labels)[:, None, None, None], (16, 28, 28, 1))
    batch = {"image": shades.astype(np.uint8), "label": labels}
    shapes = jax.eval_shape(task.model.init, jax.random.key(0), batch)["params"]
    torch.manual_seed(0)
    model = ram_torch.RAM(config.model, 10, 1, ram_torch.Vectorised)
    ours = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert sum(parameter.numel() for parameter in model.parameters()) == ours
    step = ram_torch.make_train_step(model, config, batch)
    losses = [float(step()) for _ in range(60)]
    assert np.mean(losses[-5:]) < 0.7 * losses[0]
    assert model.location.weight.grad.abs().max() > 0


def test_torch_probabilities_are_the_mean_of_rollouts(torch):
    from benchmarks import ram_torch

    config = ram.get_config("mnist")
    config.model.first, config.predict.rollouts = "random", 3
    batch = {"image": np.zeros((12, 28, 28, 1), np.uint8), "label": np.arange(12) % 10}
    model = ram_torch.make_model(config, batch)
    found = ram_torch.make_predict(model, config, batch["image"])()
    assert found.shape == (12, 10)
    torch.testing.assert_close(found.sum(-1), torch.ones(12))
    config.model.first = "learned"
    with pytest.raises(ValueError, match="random place"):
        ram_torch.make_model(config, batch)
