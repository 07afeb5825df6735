"""What predict mode writes for a film or a picture: tables, pictures and films with the pose."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxvision.errors import UserError
from jaxvision.input_pipeline import images
from jaxvision.tasks.keypoints import figures as pose
from jaxvision.tasks.keypoints import follow as follow_animal
from jaxvision.tasks.keypoints import tracks
from jaxvision.tasks.keypoints.follow import Film, Model
from jaxvision.tasks.keypoints.heading import Angle
from jaxvision.tasks.keypoints.tracks import Tracks
from jaxvision.visualize.film import write_film

SMALLEST = 300  # pixels: smaller pictures are enlarged in films by a whole factor


def write_file(model: Model, path: Path, output: Path) -> dict[str, Any]:
    """Locates the points in one file, and writes them under `output`.

    A picture gives <stem>.png, with the pose drawn. An npz or a video gives <stem>.csv (see
    `tracks.write_csv`), and where asked <stem>.mp4 and <stem>.h5.

    Returns:
      A JSON-able record: file and the written files; of a picture its points (x, y, confidence) and
      angles; of a film how many frames, and the median confidence.

    Raises:
      UserError: the file cannot be read or is of a size that cannot be used; the output cannot be
        written or is the file's own folder.
    """
    if output.resolve() == path.parent.resolve():
        raise UserError(
            f"output {output} is the folder of {path.name}, which results could overwrite; choose "
            "another folder"
        )
    film = follow_animal.open_film(path, model.options.fps)
    found = follow_animal.locate(film, model)
    if path.suffix.lower() in images.EXTENSIONS:
        return _write_picture(film, found, path, output)
    written = {"csv": output / f"{path.stem}.csv"}
    tracks.write_csv(written["csv"], found, model.options.layout)
    if model.options.h5:
        written["h5"] = output / f"{path.stem}.h5"
        tracks.write_h5(written["h5"], found, str(path))
    if model.options.film:
        written["film"] = output / f"{path.stem}.mp4"
        write_film(written["film"], pose_frames(film, found), film.fps)
    return {
        "file": str(path),
        "frames": len(found.points),
        "fps": film.fps,
        "median_confidence": float(np.median(found.confidence)),
        **{kind: str(name) for kind, name in written.items()},
    }


def _write_picture(film: Film, found: Tracks, path: Path, output: Path) -> dict[str, Any]:
    target = output / f"{path.stem}.png"
    try:
        output.mkdir(parents=True, exist_ok=True)
        Image.fromarray(next(_drawn(film, found))).save(target)
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror or error}") from error
    values = np.concatenate([found.points[0], found.confidence[0][:, None]], 1)  # [K, 3]
    return {
        "file": str(path),
        "picture": str(target),
        "points": {name: row.tolist() for name, row in zip(found.keypoints, values, strict=True)},
        "degrees": found.degrees[0].tolist(),
        "degrees_confidence": found.degrees_confidence[0].tolist(),
    }


def collect(
    names: Sequence[str], angles: Sequence[Angle], options, records: Sequence[dict], output: Path
) -> None:
    """One table, points.csv, of all single pictures, in the order of their names.

    Args:
      records: of `write_file`; films have tables of their own.
    """
    pictures = [record for record in records if "points" in record]
    if not pictures:
        return
    values = np.array([[record["points"][name] for name in names] for record in pictures])
    found = Tracks(
        names,
        tuple(angle.name for angle in angles),
        values[..., :2],
        values[..., 2],
        np.array([record["degrees"] for record in pictures]).reshape(len(pictures), -1),
        np.array([record["degrees_confidence"] for record in pictures]).reshape(len(pictures), -1),
    )
    files = [Path(record["file"]).name for record in pictures]
    tracks.write_csv(Path(output) / "points.csv", found, options.layout, files)


def write_pose_film(model: Model, film: Film, path: Path, limit: int) -> Path:
    """A film of the first `limit` frames with the pose drawn.

    Raises:
      UserError: as `write_file`.
    """
    film = film._replace(frames=_first(film.frames, limit))
    write_film(path, pose_frames(film, follow_animal.locate(film, model)), film.fps)
    return path


def _first(frames, limit: int):
    return lambda: itertools.islice(frames(), limit)


def pose_frames(film: Film, found: Tracks) -> Iterator[np.ndarray]:
    """Every frame with points and arrows, and beside it the trace of the first angle."""
    for t, picture in enumerate(_drawn(film, found)):
        if found.angles:
            start = max(0, t + 1 - pose.TRACE)
            picture = pose.film_frame(picture, found.degrees[start : t + 1, 0])
        yield picture


def _drawn(film: Film, found: Tracks) -> Iterator[np.ndarray]:
    """Every frame with points and arrows."""
    for t, frame in enumerate(film.frames()):
        zoom = max(1, -(-SMALLEST // max(frame.shape[:2])))
        yield pose.draw_pose(
            frame, found.points[t], found.degrees[t], zoom=zoom, strength=found.confidence[t]
        )
