"""What a run's start leaves out, since it takes seconds, is not missed."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from jaxvision.input_pipeline.synthetic import small_images
from jaxvision.training import run as run_lib
from jaxvision.training.train_state import eval_variables
from tests.tiny import open_run
from tests.tiny_systems import CONFIGS


@pytest.mark.parametrize("system", CONFIGS)
def test_the_headline_names_metrics_of_validation(tmp_path, system):
    """A best_metric of the headline is taken without working the metrics out."""
    run, _, state = open_run(CONFIGS[system](), tmp_path)
    names = run_lib._metric_names(run, eval_variables(state, 0.0))
    assert set(run.task.report.headline) <= set(names)


def test_digits_are_scikit_learns():
    images, labels = small_images._digits()
    digits = load_digits()
    np.testing.assert_array_equal(images, digits.images)
    np.testing.assert_array_equal(labels, digits.target)
