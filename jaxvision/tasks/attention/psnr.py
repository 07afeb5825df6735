"""Peak signal-to-noise ratio."""

import numpy as np


def psnr(errors):
    """dB of mean squared errors of pixels in [0, 1]."""
    return -10 * np.log10(np.maximum(errors, 1e-10))
