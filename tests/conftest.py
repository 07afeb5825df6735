"""Fixtures for every test: a cache of its own, and the real data where it is present."""

import functools
import os
import tempfile
import threading
from pathlib import Path

import pytest

from jaxvision import failures

# Many tests train the same tiny network: compiled once a session, here, in xdist's workers (which
# inherit the environment) and in the processes that tests start. Set before jax is imported.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _programs = tempfile.TemporaryDirectory(prefix="jaxvision-tests-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _programs.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.3"


@pytest.fixture(scope="session", autouse=True)
def nothing_is_cut_off():
    """Waits at the end for threads that a program would leave behind: see `failures.end`."""
    yield
    for thread in threading.enumerate():
        if thread.name == failures.CUT_OFF:
            thread.join()


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory, monkeypatch):
    """An empty cache folder a test, so that no test reads what another, or the user, left."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("JAXVISION_CACHE", str(folder))
    return folder


@pytest.fixture
def call(capfd, monkeypatch):
    """call(*arguments): main.py in this process, (exit code, stdout, lines of stderr).

    Without the lines of progress, which only come where the machine is slow.
    """
    from jaxvision.input_pipeline import parallel
    from tests.command import call_main

    monkeypatch.setattr(parallel, "QUIET_SECONDS", 3600.0)
    return functools.partial(call_main, capfd)


@pytest.fixture
def shared_data():
    """The folder of real data sets beside the checkout."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}")
    return folder
