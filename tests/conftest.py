"""Fixtures for every test: a cache of its own, and the real data where it is present."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory, monkeypatch):
    """An empty cache folder a test, so that no test reads what another, or the user, left."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("JAXVISION_CACHE", str(folder))
    return folder


@pytest.fixture
def shared_data():
    """The folder of real data sets beside the checkout."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}")
    return folder
