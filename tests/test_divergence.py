"""A run that is not finite says what is to blame."""

import numpy as np
import pytest

from jaxvision import train
from jaxvision.input_pipeline import loader
from tests.tiny_systems import rat_config


def test_data_that_is_not_finite_is_named(tmp_path, monkeypatch):
    config = rat_config(train__steps=4, data__resident="false")
    dataset = loader.load_dataset(config)
    split = dataset.splits["train"]

    def read(row):
        example = split.read(row)
        return {**example, "points": example["points"] + np.float32(np.inf if row == 3 else 0)}

    splits = {**dataset.splits, "train": split._replace(read=read)}
    broken = dataset._replace(splits=splits)
    monkeypatch.setattr(loader, "load_dataset", lambda config: broken)
    with pytest.raises(FloatingPointError, match="bad values in the data") as caught:
        train.train(config, str(tmp_path))
    assert split.names[3] in str(caught.value) or "..." in str(caught.value)
    assert "nothing was saved before it" in str(caught.value)


def test_steps_that_are_too_large_are_named(tmp_path):
    config = rat_config(
        train__steps=20,
        optimizer__name="sgd",
        optimizer__learning_rate=1e30,
        optimizer__clip_norm=0.0,
    )
    with pytest.raises(FloatingPointError, match=r"too large: lower optimizer.learning_rate"):
        train.train(config, str(tmp_path))
