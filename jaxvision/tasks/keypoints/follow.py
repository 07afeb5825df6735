"""Where the animal is in a picture or a film of any size: the window that the network looks at.

What is as large as the model's pictures goes straight in. In a larger picture the animal is a blob
that is darker (or lighter) than the rest; in a larger film a window follows it: the empty scene is
the bright (or dark) percentile of a few frames, the animal the largest blob that stands out from
it. The windows' views lead back to the film's own pixels.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jaxvision.errors import FileError
from jaxvision.input_pipeline import blob, views
from jaxvision.input_pipeline.views import View
from jaxvision.tasks.keypoints.films import Film
from jaxvision.tasks.keypoints.poses import Setup

SCENE_FRAMES = 25  # frames, spread over a film, that the empty scene is made of
SCENE_SIDE = 320  # pixels: frames are thinned out to this before a blob is looked for
PICTURE_SIDE = 640  # so are single pictures, which have no scene to compare with
SCENE_PERCENTILE = 80  # an animal may sit at one place in a fifth of the frames


def prepare(picture: np.ndarray, setup: Setup) -> tuple[np.ndarray, View]:
    """One picture as the network sees it, uint8 [H, W, C], and which window of it that is.

    Args:
      picture: uint8 [h, w, 1 or 3].

    Raises:
      FileError: no animal stands out in a picture that is not of the model's size.
    """
    view = _whole_view(picture, setup)
    if view is None:
        step = max(1, -(-max(picture.shape[:2]) // PICTURE_SIDE))
        thin = _thin(picture, step)[..., None] if step > 1 else picture
        animal = blob.blob_in_crop(thin, setup.info["animal"])
        if animal is None:
            raise FileError(_nothing_stands_out(setup, "the picture"))
        view = _view_about(animal, step, _crop_size([animal.length * step], setup), setup)
    return see(picture, view, setup), view


def see(picture: np.ndarray, view: View, setup: Setup) -> np.ndarray:
    """The window's pixels as the network takes them: uint8 [H, W, C]."""
    height, width, channels = setup.info["image"]
    image = views.cut(picture if channels == 3 else views.gray(picture), view)
    # A window of another shape than a square may miss the width by a pixel, for rounding.
    missing = max(0, width - image.shape[1])
    image = np.pad(image, ((0, 0), (0, missing), (0, 0)), mode="edge")[:, :width]
    return np.broadcast_to(image, (height, width, channels))


def follow(film: Film, setup: Setup) -> Callable[[np.ndarray], View]:
    """A function that gives the window about the animal in each frame, called with all in order.

    The size of the window, the empty scene, and where the animal is before it is first seen come
    from SCENE_FRAMES frames spread over the film.

    Raises:
      FileError: no animal stands out in any of these frames; crops of another size than the
        model's.
    """
    frames = film.frames()
    first = next(frames)
    frames.close()
    view = _whole_view(first, setup)
    if view is not None:
        return lambda frame: view
    _check_larger(film, first, setup)
    kind = setup.info["animal"]
    step = max(1, -(-max(first.shape[:2]) // SCENE_SIDE))
    samples = film.samples(SCENE_FRAMES, lambda frame: _thin(frame, step))
    find = _finder(samples, kind)
    blobs = [animal for animal in map(find, samples) if animal]
    if not blobs:
        raise FileError(f"{film.name}: {_nothing_stands_out(setup, 'the scene')}")
    crop = _crop_size([animal.length * step for animal in blobs], setup)
    last = blobs[0]

    def window(frame: np.ndarray) -> View:
        nonlocal last
        last = find(_thin(frame, step)) or last
        return _view_about(last, step, crop, setup)

    return window


def _whole_view(picture: np.ndarray, setup: Setup) -> View | None:
    """All of the picture, where the network looks at whole pictures; else None."""
    height, width = setup.info["image"][:2]
    if setup.options.crop_size or setup.info["crop_size"]:
        return None
    if picture.shape[:2] == (height, width) or setup.image_size:
        return views.whole(*picture.shape[:2], setup.image_size)
    return None


def _check_larger(film: Film, frame: np.ndarray, setup: Setup) -> None:
    if setup.options.crop_size or setup.info["crop_size"]:
        return
    height, width, _ = setup.info["image"]
    if film.cropped or frame.shape[0] < height or frame.shape[1] < width:
        raise FileError(
            f"{film.name}: pictures of {frame.shape[1]} x {frame.shape[0]} pixels, but the model "
            f"was trained on {width} x {height}: cut them to that size, or set predict.crop_size, "
            "the side in their pixels of the square about the animal"
        )


def _nothing_stands_out(setup: Setup, place: str) -> str:
    return (
        f"no {setup.info['animal']} animal stands out from {place}; data.animal says dark or "
        "light, and an animal that never moves is part of the scene: cut crops by hand"
    )


def _crop_size(lengths: list[float], setup: Setup) -> int:
    """Height of the window, in pixels of the picture: the animal as large in it as in training."""
    crop = setup.options.crop_size or setup.info["crop_size"]
    if crop:
        return crop
    scale = float(np.median(lengths)) / setup.info["blob_length"]
    return max(1, round(setup.info["image"][0] * scale))


def _view_about(animal: blob.Blob, step: int, crop: int, setup: Setup) -> View:
    """A window `crop` pixels high, of the shape of the model's pictures, about a thinned blob."""
    height, width = setup.info["image"][:2]
    x, y = (np.array([animal.x, animal.y]) + 0.5) * step - 0.5
    view = views.around(x, y, crop, height)
    if width == height:
        return view
    wide = round(crop * width / height)
    return view._replace(left=round(float(x) + 0.5 - wide / 2), width=wide)


def _finder(samples: list[np.ndarray], kind: str) -> Callable[[np.ndarray], Any]:
    """Finds the animal's blob in thinned frames; in a film of one frame as in a picture."""
    if len(samples) < 2:
        return lambda frame: blob.blob_in_crop(frame[..., None], kind)
    percent = SCENE_PERCENTILE if kind == "dark" else 100 - SCENE_PERCENTILE
    scene = np.percentile(np.stack(samples), percent, axis=0).astype(np.float32)
    return lambda frame: blob.blob_in_frame(frame, scene, kind)


def _thin(frame: np.ndarray, step: int) -> np.ndarray:
    """Means over step x step pixels, gray: float32 [H / step, W / step], of 1 at least."""
    down, across = (min(step, side) for side in frame.shape[:2])
    height, width = frame.shape[0] // down, frame.shape[1] // across
    gray = views.gray(frame)[: height * down, : width * across, 0].astype(np.float32)
    return gray.reshape(height, down, width, across).mean((1, 3))


def windows(film: Film, setup: Setup) -> Iterator[tuple[np.ndarray, View]]:
    """Each frame of a film, and the window about the animal in it; decodes the film once.

    Raises:
      FileError: as `follow`, and as reading the film does.
    """
    window = follow(film, setup)
    for frame in film.frames():
        yield frame, window(frame)
