"""The loss of validation, rows that stand for themselves, and what is exported."""

import jax
import jax.export
import numpy as np
import pytest

from jaxvision.tasks import keypoints
from jaxvision.tasks.keypoints.model import MODELS
from tests.tasks.keypoints.test_keypoints import INFO, batch_of, tiny


@pytest.mark.parametrize("name", MODELS)
def test_the_validation_loss_is_the_training_loss_of_real_rows(name):
    """With batch statistics that are those of the batch, training and evaluation see the same."""
    task = keypoints.make(tiny(model__name=name), INFO)
    batch = batch_of(4)
    batch["visible"][1, 2] = 0
    variables = jax.jit(task.model.init)(jax.random.key(0), batch)
    stats = jax.tree.map(np.zeros_like, variables["batch_stats"])
    for _ in range(400):  # running averages become the batch's own
        loss, (extra, _) = jax.jit(task.model.loss)(
            variables["params"], {"batch_stats": stats}, batch, jax.random.key(0)
        )
        stats = extra["batch_stats"]
    padded = {n: np.concatenate([a, 0 * a[:2]]) for n, a in batch.items()}
    padded["visible"][4:] = 1
    used = {"params": variables["params"], "batch_stats": stats}
    measured = jax.jit(task.model.metrics)(used, padded, jax.random.key(0))
    values = task.report.metrics(measured, {})
    assert values["loss"] == pytest.approx(float(loss), rel=1e-4)
    outputs = task.model.predict(used, batch["image"])
    exported = task.report.metrics(task.report.measure(outputs, batch), {})
    assert list(exported) == list(values) and np.isnan(exported["loss"])
    assert set(task.report.headline) <= set(values) and 3 <= len(task.report.headline) <= 5


@pytest.mark.parametrize("name", MODELS)
def test_no_row_depends_on_its_batch_mates(name):
    task = keypoints.make(tiny(model__name=name), INFO)
    images = batch_of(8)["image"]
    variables = jax.jit(task.model.init)(jax.random.key(0), {"image": images})
    predict = jax.jit(task.model.predict)
    together, alone = predict(variables, images), predict(variables, images[3:4])
    for output in together:
        np.testing.assert_allclose(together[output][3:4], alone[output], atol=2e-4)


def test_the_heatmap_net_is_exported_for_any_size():
    task = keypoints.make(tiny(), INFO)
    assert task.model.input_shape == ("h", "w", 1)
    variables = jax.jit(task.model.init)(jax.random.key(0), batch_of())
    shape = jax.export.symbolic_shape("b, h, w, 1", constraints=("h >= 16", "w >= 16"))
    images = jax.ShapeDtypeStruct(shape, np.uint8)
    exported = jax.export.export(jax.jit(task.model.predict))(variables, images)
    for size in ((2, 16, 17, 1), (1, 45, 31, 1)):
        images = np.random.default_rng(0).integers(0, 255, size, np.uint8)
        ours = jax.jit(task.model.predict)(variables, images)
        np.testing.assert_allclose(
            exported.call(variables, images)["points"], ours["points"], atol=1e-3
        )
    fixed = keypoints.make(tiny(model__name="coordinate"), INFO)
    assert fixed.model.input_shape == (32, 32, 1)
