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
    palette = Image.fromarray(np.concatenate(list(frames))).quantize(255)
    pictures = [
        Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE)
        for frame in frames
    ]
    pictures[0].save(
        path, save_all=True, append_images=pictures[1:], duration=round(1000 / fps), loop=0
    )
