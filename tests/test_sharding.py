"""Eight devices give the result of one, and share the work: each sees its own rows of a batch."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
STEPS = """
import sys
import jax, numpy as np
from jaxvision.training.advance import make_advance
from tests.tiny import open_run, tiny_config

# Not Adam: it divides by the size of the gradient, so rounding decides where that is near 0.
config = tiny_config(
    batch_size=8, optimizer__name="sgd", optimizer__learning_rate=0.01, optimizer__warmup_steps=0
)
run, feed, state = open_run(config, sys.argv[1])
advance = make_advance(run, feed, 0)
for step in range(2):
    state, _ = advance(state, step, 1)
state = jax.device_get(state)
leaves = jax.tree.leaves((state.params, state.extra, state.sums))
np.savez(sys.argv[2], *leaves)
print("devices", jax.device_count())
"""
ONE_STEP = """
import sys
from jaxvision.training.advance import make_advance
from tests import tiny, tiny_ram, tiny_systems

config = tiny_systems.CONFIGS[sys.argv[2]]()
config.batch_size = 8
run, feed, state = tiny.open_run(config, sys.argv[1])
make_advance(run, feed, 0)(state, 0, 1)
print("image", *feed.split.read(0)["image"].shape)
"""


def run_python(program, devices, *arguments, dump=""):
    flags = f"--xla_force_host_platform_device_count={devices}"
    if dump:
        flags += f" --xla_dump_to={dump} --xla_dump_hlo_as_text --xla_backend_optimization_level=0"
    environment = {**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": str(ROOT)}
    if dump:
        environment["JAX_COMPILATION_CACHE_DIR"] = str(dump)  # what is cached is not dumped
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def states(tmp_path, devices):
    output = tmp_path / f"{devices}.npz"
    printed = run_python(STEPS, devices, tmp_path / str(devices), output)
    assert f"devices {devices}" in printed
    with np.load(output) as arrays:
        return [arrays[name] for name in arrays.files]


def test_eight_devices_equal_one(tmp_path):
    one, eight = states(tmp_path, 1), states(tmp_path, 8)
    assert len(one) == len(eight)
    for a, b in zip(one, eight, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "system", ["segmentation", "classification", "keypoints", "perception", "attention"]
)
def test_a_device_works_on_its_own_rows_alone(system, tmp_path):
    """In the compiled step a batch of 8 pictures is one picture a device, nowhere all eight."""
    dump = tmp_path / "hlo"
    printed = run_python(ONE_STEP, 8, tmp_path / "run", system, dump=dump)
    shape = printed.split("image ")[1].strip().replace(" ", ",")
    programs = [path.read_text() for path in dump.glob("*after_optimizations.txt")]
    steps = [text for text in programs if "num_partitions=8" in text and f"u8[1,{shape}]" in text]
    assert steps, f"no program has u8[1,{shape}] a device"
    step = max(steps, key=len)
    assert f"u8[8,{shape}]" not in step
    assert not re.search(rf"f32\[8,{shape}\]", step)
    assert "all-reduce" in step, "the gradients of the devices are never added up"


def test_a_batch_that_does_not_divide_is_refused(monkeypatch):
    import jax

    from jaxvision import sharding
    from jaxvision.errors import UserError

    monkeypatch.setattr(sharding.jax, "local_devices", lambda: jax.devices() * 3)
    with pytest.raises(UserError, match="batch_size=4 does not divide among 3 devices"):
        sharding.make_mesh({"batch_size": 4})
