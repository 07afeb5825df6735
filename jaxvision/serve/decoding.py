"""Stands in for `images.decode_bytes` until that is merged."""

import io

import numpy as np

from jaxvision.errors import UserError
from jaxvision.input_pipeline import images


def decode_bytes(data: bytes, max_pixels: int) -> np.ndarray:
    """A file's content as uint8 [H, W, 3] RGB."""
    del max_pixels  # checked by who calls
    try:
        return images.decode_image(io.BytesIO(data))
    except UserError as error:
        raise UserError(str(error).partition(">: ")[2] or str(error)) from error
