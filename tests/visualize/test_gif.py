"""GIFs read back: frames, pace and colours."""

import numpy as np
import pytest
from PIL import Image

from jaxvision.visualize.gif import write_gif


def read(path):
    with Image.open(path) as image:
        frames = []
        for i in range(image.n_frames):
            image.seek(i)
            frames.append(np.asarray(image.convert("RGB")))
        return np.stack(frames), image.info


def test_few_colours_stay_what_they_are(tmp_path):
    gray = np.random.default_rng(0).integers(0, 250, (4, 20, 30, 1), np.uint8)
    frames = np.repeat(gray, 3, axis=3)
    frames[:, 5, :, 0] = 255  # and a line in colour
    frames[:, 5, :, 1:] = 7
    write_gif(tmp_path / "a.gif", frames, fps=4)
    decoded, info = read(tmp_path / "a.gif")
    assert np.abs(decoded.astype(int) - frames).max() <= 3  # Pillow matches them to six bits
    assert (decoded[:, :5] == decoded[:, :5, :, :1]).all()  # what was gray is
    assert info["duration"] == 250 and info["loop"] == 0


@pytest.mark.parametrize("seed", [0, 1])
def test_many_colours_are_near(tmp_path, seed):
    y, x = np.mgrid[:64, :64]
    first = np.stack([4 * x, 4 * y, 2 * (x + y)], axis=-1).astype(np.uint8)
    frames = np.stack([first, np.roll(first, 5 + seed, axis=1)])
    write_gif(tmp_path / "a.gif", frames, fps=4)
    assert np.abs(read(tmp_path / "a.gif")[0].astype(int) - frames).mean() < 8
