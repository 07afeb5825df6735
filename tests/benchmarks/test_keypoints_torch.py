"""The PyTorch net that speed is compared with is ours: the same points and the same loss."""

import jax
import numpy as np
import pytest

from jaxvision.tasks import keypoints
from tests.tasks.keypoints.test_keypoints import INFO, batch_of, tiny

ORDER = ("stem", "fine", "down4", "middle", "down8", "coarse", "up4", "middle_up", "up2", "fine_up")


def test_torch_net_finds_our_points_and_has_our_loss():
    torch = pytest.importorskip("torch")
    from benchmarks import keypoints_torch

    torch.set_num_threads(1)
    config, batch = tiny(), batch_of(side=34)  # 17, 9 and 5 cells: both pad alike
    batch["visible"][0, 1] = 0
    task = keypoints.make(config, INFO)
    shapes = jax.eval_shape(task.model.init, jax.random.key(0), batch)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda s: rng.uniform(0.2, 1.0, s.shape).astype(np.float32), shapes)
    params = jax.tree.map(lambda a: a - 0.6, variables["params"])

    model = keypoints_torch.make_model(config, batch)
    convolutions = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for name, layer in zip((*ORDER, "head"), convolutions, strict=True):
        kernel = params[name]["kernel"].transpose(3, 2, 0, 1).copy()
        layer.weight.data = torch.from_numpy(kernel)
    model.head.bias.data = torch.from_numpy(params["head"]["bias"])
    for name, layer in zip(ORDER, norms, strict=True):
        layer.weight.data = torch.from_numpy(params[f"{name}_bn"]["scale"])
        layer.bias.data = torch.from_numpy(params[f"{name}_bn"]["bias"])
        layer.running_mean = torch.from_numpy(variables["batch_stats"][f"{name}_bn"]["mean"])
        layer.running_var = torch.from_numpy(variables["batch_stats"][f"{name}_bn"]["var"])
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == sum(leaf.size for leaf in jax.tree.leaves(params))

    whole = {"params": params, "batch_stats": variables["batch_stats"]}
    ours = jax.jit(task.model.predict)(whole, batch["image"])["points"]
    theirs = keypoints_torch.make_predict(model, config, batch["image"])()
    np.testing.assert_allclose(ours, theirs.numpy(), atol=0.02)
    loss = jax.jit(
        lambda p, b: task.model.loss(p, {"batch_stats": whole["batch_stats"]}, b, None)[0]
    )
    step = keypoints_torch.make_train_step(model, config, batch)
    assert float(loss(params, batch)) == pytest.approx(float(step()), rel=1e-3)
