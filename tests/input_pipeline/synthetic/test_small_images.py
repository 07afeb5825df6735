"""The built-in digits."""

import numpy as np
from sklearn.datasets import load_digits

from jaxvision.input_pipeline.synthetic import small_images


def test_digits_are_scikit_learns():
    images, labels = small_images._digits()
    digits = load_digits()
    np.testing.assert_array_equal(images, digits.images)
    np.testing.assert_array_equal(labels, digits.target)
