"""Points and heading of one animal in films and pictures of any size.

What is as large as the model's pictures goes straight in. In a larger film a window follows the
animal: the empty scene is the film's bright (or dark) percentile, the animal the largest blob that
stands out from it, and the points are given back in the film's own pixels.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxvision.errors import UserError
from jaxvision.input_pipeline import blob, video, views
from jaxvision.input_pipeline.images import decode_image
from jaxvision.input_pipeline.readers.keypoints import files as keypoint_files
from jaxvision.tasks.keypoints import heading
from jaxvision.tasks.keypoints.smoothing import smooth
from jaxvision.tasks.keypoints.tracks import Tracks

SCENE_FRAMES = 25  # frames, spread over a film, that the empty scene is made of
SCENE_SIDE = 320  # pixels: frames are thinned out to this before a blob is looked for
SCENE_PERCENTILE = 80  # an animal may sit at one place in a fifth of the frames


class Model(NamedTuple):
    """What is needed of the trained model.

    Attributes:
      predict: uint8 [B, H, W, C] -> {'points': [B, K, 2], 'spread': [B, K]}.
      confidence: spread [B, K] -> [B, K] in [0, 1].
      keypoints: names.
      angles: of `heading.find_angles`.
      info: the data set's: `image`, `animal`, `crop_size`, `blob_length`.
      image_size: `data.image_size`.
      options: config.predict.
    """

    predict: Callable[[np.ndarray], Any]
    confidence: Callable[[np.ndarray], np.ndarray]
    keypoints: tuple[str, ...]
    angles: tuple[heading.Angle, ...]
    info: dict[str, Any]
    image_size: int
    options: Any


class Film(NamedTuple):
    """Frames that can be read more than once.

    Attributes:
      name: for messages.
      fps: frames a second.
      frames: () -> iterator of uint8 [H, W, C].
      cropped: the frames are crops already, of the model's size.
      single: there is but one.
    """

    name: str
    fps: float
    frames: Callable[[], Iterable[np.ndarray]]
    cropped: bool
    single: bool = False


def open_film(path: Path, fps: float) -> Film:
    """A video file, a picture, or an npz of `images`.

    Args:
      path: of the file.
      fps: of an npz, which does not tell.

    Raises:
      UserError: it cannot be read, or holds something else.
    """
    if path.suffix.lower() == ".npz":
        arrays = keypoint_files.open_npz(path)
        array = arrays[keypoint_files.find_images(arrays, path)]
        array = array[..., None] if array.ndim == 3 else array
        return Film(str(path), fps, lambda: iter(array), True)
    if path.suffix.lower() in video.EXTENSIONS:
        rate, frames = video.read_video(path)
        frames.close()
        return Film(str(path), rate, lambda: video.read_video(path)[1], False)
    return Film(str(path), fps, lambda: iter([decode_image(path)]), False, True)


def locate(film: Film, model: Model) -> Tracks:
    """The tracks of a film's animal, smoothed where the options say so.

    Raises:
      UserError: the film's size cannot be used, or no animal stands out.
    """
    points, spread = [], []
    size = 1 if film.single else model.options.batch_size
    for batch, count in _batches(_inputs(film, model), size):
        crops, windows = zip(*batch, strict=True)
        outputs = model.predict(np.stack(crops))
        found = np.asarray(outputs["points"])[:count]
        points += [w.to_picture(p) for w, p in zip(windows, found, strict=False)]
        spread.append(np.asarray(outputs["spread"])[:count])
    points, spread = np.stack(points), np.concatenate(spread)
    confidence = np.asarray(model.confidence(spread))
    points = smooth(points, model.options.smoothing, film.fps, model.options.smoothing_strength)
    return Tracks(
        model.keypoints,
        tuple(angle.name for angle in model.angles),
        points,
        confidence,
        np.asarray(heading.angles_of(points, model.angles)),
        np.asarray(heading.both_visible(confidence, model.angles)),
    )


def _batches(items: Iterable, size: int) -> Iterator[tuple[list, int]]:
    """Lists of exactly `size` items, the last filled up with copies, and how many are real."""
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch, size
            batch = []
    if batch:
        yield batch + batch[-1:] * (size - len(batch)), len(batch)


def _inputs(film: Film, model: Model) -> Iterator[tuple[np.ndarray, views.View]]:
    """Each frame as the network sees it, and the window it was cut from."""
    height, width, channels = model.info["image"]
    first = next(iter(film.frames()))
    crop = model.options.crop_size or model.info["crop_size"]
    same = first.shape[:2] == (height, width)
    if crop or not (same or model.image_size):
        if not crop:
            _check_larger(film, first, model)
        windows = _follow(film, model, crop)
    else:
        fixed = views.whole(*first.shape[:2], model.image_size)
        windows = itertools.repeat(fixed)
    for frame, window in zip(film.frames(), windows, strict=False):
        frame = frame if channels == 3 else views.gray(frame)
        image = views.cut(frame, window)
        yield np.broadcast_to(image, (height, width, channels)), window


def _check_larger(film: Film, frame: np.ndarray, model: Model) -> None:
    height, width, _ = model.info["image"]
    if film.cropped or frame.shape[0] < height or frame.shape[1] < width:
        raise UserError(
            f"{film.name}: pictures of {frame.shape[1]} x {frame.shape[0]} pixels, but the model "
            f"was trained on {width} x {height}: cut them to that size, or set predict.crop_size, "
            "the side in their pixels of the square about the animal"
        )


def _follow(film: Film, model: Model, crop: int) -> Iterator[views.View]:
    """The window about the animal in each frame."""
    kind, size = model.info["animal"], model.info["image"][0]
    scene, step = _empty_scene(film, kind)
    if scene is None:  # a single picture
        blobs = [blob.blob_in_crop(frame, kind) for frame in film.frames()]
        step = 1
    else:
        thin = (_thin(frame, step) for frame in film.frames())
        blobs = [blob.blob_in_frame(frame, scene, kind) for frame in thin]
    lengths = [b.length * step for b in blobs if b]
    if not lengths:
        raise UserError(
            f"{film.name}: no {kind} animal stands out from the scene; data.animal says dark or "
            "light, and an animal that never moves is part of the scene: cut crops by hand"
        )
    crop = crop or round(size * float(np.median(lengths)) / model.info["blob_length"])
    last = next(b for b in blobs if b)
    for found in blobs:
        last = found or last
        centre = (np.array([last.x, last.y]) + 0.5) * step - 0.5
        yield views.around(*centre, crop, size)


def _empty_scene(film: Film, kind: str) -> tuple[np.ndarray | None, int]:
    """The scene without the animal, gray and thinned out, and by which factor; None for one frame.

    Keeps SCENE_FRAMES frames at most: when there are twice as many, every second one goes.
    """
    kept, every, step = [], 1, 1
    for i, frame in enumerate(film.frames()):
        if i % every:
            continue
        step = max(1, -(-max(frame.shape[:2]) // SCENE_SIDE))
        kept.append(_thin(frame, step))
        if len(kept) == 2 * SCENE_FRAMES:
            kept, every = kept[::2], 2 * every
    if len(kept) < 2:
        return None, step
    percent = SCENE_PERCENTILE if kind == "dark" else 100 - SCENE_PERCENTILE
    return np.percentile(np.stack(kept), percent, axis=0).astype(np.float32), step


def _thin(frame: np.ndarray, step: int) -> np.ndarray:
    """Means over step x step pixels, gray: float32 [H / step, W / step]."""
    height, width = (side // step * step for side in frame.shape[:2])
    gray = views.gray(frame)[:height, :width, 0].astype(np.float32)
    return gray.reshape(height // step, step, width // step, step).mean((1, 3))
