"""Files for pictures and films: tables, pictures and films with the pose."""

import array
import collections
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxvision.errors import UserError
from jaxvision.input_pipeline.parallel import cpu_threads, in_background, in_threads
from jaxvision.input_pipeline.video import require_av
from jaxvision.task import Prediction
from jaxvision.tasks.keypoints import figures, films, follow, poses, smoothing, tracks
from jaxvision.tasks.keypoints.films import Film
from jaxvision.tasks.keypoints.poses import Setup
from jaxvision.tasks.keypoints.tracks import Tracks
from jaxvision.visualize.film import write_film

AHEAD = 2  # frames that are decoded, or a thread has drawn, before they are needed


def write_picture(
    render: Callable, picture: np.ndarray, prediction: Prediction, path: Path, output: Path
) -> dict[str, str]:
    """<stem>.png, with the pose drawn."""
    target = Path(output) / f"{Path(path).stem}.png"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # To look at: half as long as with the usual effort of 6, and a third larger.
        Image.fromarray(render(picture, prediction)).save(target, compress_level=1)
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror or error}") from error
    return {"picture": str(target)}


def collect(setup: Setup, records: Sequence[dict], output: Path) -> None:
    """One table, points.csv, of all single pictures, in the order of their names.

    Args:
      records: of all files; films have tables of their own.
    """
    pictures = [record for record in records if "points" in record]
    if not pictures:
        return
    values = np.array([[record["points"][name] for name in setup.keypoints] for record in pictures])
    table = Tracks(
        setup.keypoints,
        tuple(angle.name for angle in setup.angles),
        values[..., :2],
        values[..., 2],
        np.array([record["degrees"] for record in pictures]).reshape(len(pictures), -1),
        np.array([record["degrees_confidence"] for record in pictures]).reshape(len(pictures), -1),
    )
    names = [Path(record["file"]).name for record in pictures]
    tracks.write_csv(Path(output) / "points.csv", table, setup.options.layout, names)


def write_film_files(
    setup: Setup, apply: Callable, path: Path, output: Path, fitted: dict[str, float]
) -> dict[str, Any]:
    """Locates the points in an npz or a video: <stem>.csv (see `tracks.write_csv`), and where
    asked <stem>.mp4 and <stem>.h5.

    The film is decoded once, but for the frames that the empty scene is made of. In memory are the
    tracks, and no more frames than wait for the network (two batches) and the smoother.

    Returns:
      A JSON-able record: file and the written files, frames, fps, the median confidence, and under
      'incomplete' what is wrong with a film that ends before its time.

    Raises:
      UserError: the file cannot be read or is of a size that cannot be used; no animal stands out;
        an extra is missing; the output cannot be written.
    """
    path, output, options = Path(path), Path(output), setup.options
    if options.film:
        require_av()
    if options.h5:
        tracks.require_h5py()
    film = films.open_film(path, options.fps)
    written = {"csv": output / f"{path.stem}.csv"}
    # Numbers in one block each: thousands of small arrays would lie between the frames in memory,
    # and keep the room that frames leave from being used again (0.5 GiB over 2,330 frames).
    points, confidences = array.array("d"), array.array("d")
    poses_of_film = _record(
        film_poses(apply, film, setup, fitted, options.film), points, confidences
    )
    if options.film:
        written["film"] = output / f"{path.stem}.mp4"
        write_film(written["film"], pose_frames(poses_of_film, setup), film.fps)
    else:
        collections.deque(poses_of_film, maxlen=0)
    count = len(setup.keypoints)
    table = poses.make_tracks(
        setup, np.reshape(points, (-1, count, 2)), np.reshape(confidences, (-1, count))
    )
    tracks.write_csv(written["csv"], table, options.layout)
    if options.h5:
        written["h5"] = output / f"{path.stem}.h5"
        tracks.write_h5(written["h5"], table, str(path))
    return {
        "file": str(path),
        "frames": len(table.points),
        "fps": film.fps,
        "median_confidence": float(np.median(table.confidence)),
        **({"incomplete": film.problems[0]} if film.problems else {}),
        **{kind: str(written[kind]) for kind in ("csv", "h5", "film") if kind in written},
    }


def film_poses(
    apply: Callable, film: Film, setup: Setup, fitted: dict[str, float], keep_frames: bool = True
) -> Iterator[tuple[np.ndarray | None, np.ndarray, np.ndarray]]:
    """(frame, points [K, 2] in its pixels, confidence [K]) of each frame, smoothed, in order.

    Without `keep_frames` None stands for the frames, which then need no memory while they wait.
    """
    inputs = (
        ((frame if keep_frames else None, view), follow.see(frame, view, setup)[None])
        for frame, view in follow.windows(film, setup)
    )
    inputs = in_background(inputs, AHEAD)  # beside the network, drawing and encoding

    def located():
        for (frame, view), outputs in apply(inputs):
            points, confidence = poses.locate(outputs, view, setup, fitted)
            yield (frame, confidence), points

    method, strength = setup.options.smoothing, setup.options.smoothing_strength
    smoothed = smoothing.smooth_stream(located(), method, film.fps, strength)
    return ((frame, points, confidence) for (frame, confidence), points in smoothed)


def _record(items: Iterable, points: array.array, confidences: array.array) -> Iterator:
    """Passes on what `film_poses` gives, and keeps all of it but the frames."""
    for item in items:
        points.extend(item[1].ravel())
        confidences.extend(item[2])
        yield item


def pose_frames(items: Iterable, setup: Setup) -> Iterator[np.ndarray]:
    """Every frame with points and arrows, and beside it the trace of the first angle.

    Args:
      items: of `film_poses`.
    """
    trace = collections.deque(maxlen=figures.TRACE)

    def traced():
        for frame, points, confidence in items:
            degrees = poses.make_tracks(setup, points[None], confidence[None]).degrees[0]
            trace.extend(degrees[:1])
            yield frame, points, degrees, confidence, tuple(trace)

    def draw(item):
        *pose, past = item
        picture = figures.draw_frame(*pose)
        return figures.film_frame(picture, past) if setup.angles else picture

    return in_threads(draw, traced(), cpu_threads(), AHEAD)
