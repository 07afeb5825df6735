"""What predict mode writes for a picture that was seen in glimpses."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from jaxvision.models.retina import Retina
from jaxvision.task import Prediction
from jaxvision.tasks.attention import figures
from jaxvision.visualize import film as films
from jaxvision.visualize import gif


def write(
    retina: Retina,
    film: str,
    describe: Callable[[dict], str],
    picture: np.ndarray,
    prediction: Prediction,
    path: Path,
    output: Path,
) -> dict[str, str]:
    """Writes <stem>_glimpses.png, a film and, of an autoencoder, <stem>_reconstruction.png.

    Args:
      retina: the model's.
      film: gif, mp4 or '' for none.
      describe: the predictor's.
      picture, prediction, path, output: as of `Predictor.write`.
    """
    record, arrays = prediction.record, prediction.arrays
    reconstructions = arrays.get("reconstructions")
    steps = None if reconstructions is None else reconstructions / np.float32(255)
    locations = np.array(record["locations"], np.float32)
    view = figures.View(arrays["image"], locations, steps, describe(record))
    written = {"picture": str(output / f"{path.stem}_glimpses.png")}
    drawn = Image.fromarray(figures.glimpse_rows([view], retina))
    drawn.save(written["picture"], compress_level=1)  # of 0 to 9: one to look at, and soon
    if film:
        written["film"] = str(output / f"{path.stem}.{film}")
        write_film = gif.write_gif if film == "gif" else films.write_film
        write_film(written["film"], figures.film([view], retina), gif.FILM_FPS)
    if reconstructions is not None:
        last = reconstructions[-1]
        written["reconstruction"] = str(output / f"{path.stem}_reconstruction.png")
        pixels = last[..., 0] if last.shape[2] == 1 else last
        Image.fromarray(pixels).save(written["reconstruction"])
    return written
