"""`--mode=predict` of recurrent attention: one file of the user's, seen in glimpses."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxvision.input_pipeline import images
from jaxvision.input_pipeline.readers.small_images import image_folder
from jaxvision.models.ram import Retina
from jaxvision.tasks.attention import figures
from jaxvision.visualize import film as films
from jaxvision.visualize import gif


def predict_file(
    predict: Callable,
    path: Path,
    output: Path,
    fitted: dict[str, float],
    *,
    shape: Sequence[int],
    retina: Retina,
    classes: Sequence[str],
    film: str,
    decode: Callable,
) -> dict[str, Any]:
    """Writes <stem>_glimpses.png, a film and, of an autoencoder, <stem>_reconstruction.png.

    Args:
      predict: images -> outputs.
      path: the image; its middle square is resized to `shape`.
      output: the folder.
      fitted: unused.
      shape: (H, W, C) that the model sees.
      retina, classes: the model's.
      film: gif, mp4 or '' for none.
      decode: the task's.

    Returns:
      the record of predictions.jsonl: locations, and the label with its probabilities or the PSNR
      in dB before the first and after each glimpse.

    Raises:
      UserError: the file cannot be read.
    """
    image = image_folder.fit(images.decode_image(path), shape[0], shape[2] == 1)
    outputs = predict(image[None])
    outputs = {name: np.asarray(value[0]) for name, value in outputs.items()}
    record = decode(outputs, image, fitted)
    title = record.get("label", "") or f"{record['psnr'][-1]:.1f} dB"
    view = figures.View(image, outputs["locations"], outputs.get("reconstructions"), title)
    picture = figures.glimpse_rows([view], retina)
    Image.fromarray(picture).save(output / f"{path.stem}_glimpses.png")
    if film:
        write = gif.write_gif if film == "gif" else films.write_film
        write(output / f"{path.stem}.{film}", figures.film([view], retina), gif.FILM_FPS)
    reconstruction = record.pop("reconstruction", None)
    if reconstruction is not None:
        pixels = (reconstruction * 255).round().astype(np.uint8)
        pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels
        Image.fromarray(pixels).save(output / f"{path.stem}_reconstruction.png")
    return {"file": str(path), **record}
