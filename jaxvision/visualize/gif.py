"""Films as animated GIFs: short ones, which any viewer and browser plays."""

from pathlib import Path

import numpy as np
from PIL import Image

FILM_FPS = 2  # of a figure that moves: slow enough to follow each step of it


def write_gif(path: str | Path, frames: np.ndarray, fps: float) -> None:
    """Writes uint8 frames [F, H, W, 3] as a GIF that repeats for ever.

    Args:
      fps: frames a second; GIF keeps hundredths of a second a frame.
    """
    # One palette for all frames, so that what stands still does not flicker.
    palette = _palette(Image.fromarray(np.concatenate(list(frames))))
    pictures = [
        Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE)
        for frame in frames
    ]
    pictures[0].save(
        path, save_all=True, append_images=pictures[1:], duration=round(1000 / fps), loop=0
    )


def _palette(image: Image.Image) -> Image.Image:
    """Its own colours where they are few, as in gray pictures; else 255 that stand for them."""
    colours = image.getcolors(255)  # in a thirtieth of the time that it takes to choose some
    if colours is None:
        return image.quantize(255)
    palette = Image.new("P", (1, 1))
    palette.putpalette([value for _, colour in colours for value in colour])
    return palette
