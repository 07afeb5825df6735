"""Eight devices give the result of one."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
PROGRAM = """
import sys
import jax, numpy as np
from jaxvision import train
from tests.tiny import open_run, tiny_config

# Not Adam: it divides by the size of the gradient, so rounding decides where that is near 0.
config = tiny_config(
    batch_size=8, optimizer__name="sgd", optimizer__learning_rate=0.01, optimizer__warmup_steps=0
)
run, feed, state = open_run(config, sys.argv[1])
advance = train.make_advance(run, feed, 0)
for step in range(2):
    state, _ = advance(state, step, 1)
if sys.argv[3] == "8":
    leaf = jax.tree.leaves(state.params)[0]
    assert len(leaf.sharding.device_set) == 8 and leaf.sharding.is_fully_replicated
state = jax.device_get(state)
leaves = jax.tree.leaves((state.params, state.extra, state.sums))
np.savez(sys.argv[2], *leaves)
print("devices", jax.device_count())
"""


def states(tmp_path, devices):
    output = tmp_path / f"{devices}.npz"
    flags = f"--xla_force_host_platform_device_count={devices}"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / str(devices)), str(output), str(devices)],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert f"devices {devices}" in done.stdout, done.stderr
    with np.load(output) as arrays:
        return [arrays[name] for name in arrays.files]


def test_eight_devices_equal_one(tmp_path):
    one, eight = states(tmp_path, 1), states(tmp_path, 8)
    assert len(one) == len(eight)
    for a, b in zip(one, eight, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_batch_that_does_not_divide_is_refused(monkeypatch):
    import jax

    from jaxvision import sharding
    from jaxvision.errors import UserError

    monkeypatch.setattr(sharding.jax, "local_devices", lambda: jax.devices() * 3)
    with pytest.raises(UserError, match="batch_size=4 does not divide among 3 devices"):
        sharding.make_mesh({"batch_size": 4})
