"""Evaluation sees every row once, in batches that divide among the devices."""

import jax
import pytest

from configs import ram
from jaxvision import evaluate
from tests.tiny import tiny_config


@pytest.mark.parametrize("devices, size", [(1, 500), (8, 504), (3, 501)])
def test_a_batch_is_rounded_up_to_whole_rows_a_device(devices, size, monkeypatch):
    monkeypatch.setattr(jax, "local_device_count", lambda: devices)
    assert evaluate.batch_size(ram.get_config()) == size


def test_without_a_size_of_its_own_it_is_that_of_training(monkeypatch):
    monkeypatch.setattr(jax, "local_device_count", lambda: 2)
    assert evaluate.batch_size(tiny_config(batch_size=6)) == 6
