"""What can be judged of points in a film without labels.

python main.py --mode=predict --workdir=workdir/mine --input=film.npz --output=tracks/
python -m benchmarks.keypoint_film --tracks=tracks/film.csv --data=/data/rats.npz

An animal keeps its length, and does not jump in a thirtieth of a second. Lengths between points
are compared with all those of labelled pictures of the same scale. A track can pass and be wrong
all the same: look at the film too.
"""

import argparse
import csv
import itertools
from pathlib import Path

import numpy as np

from jaxvision.input_pipeline.readers.keypoints import listing
from jaxvision.tasks.keypoints import heading

SLACK = 1.2  # lengths may be longer or shorter than any that is labelled by this factor
JUMP = 5.0  # pixels from frame to frame
TURN = 45.0  # degrees of heading from frame to frame


def read_tracks(path: Path, names):
    """Points [T, K, 2], and the heading's degrees and confidence [T], of predict's plain csv."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    points = np.array([[[float(r[f"{n}_x"]), float(r[f"{n}_y"])] for n in names] for r in rows])
    angle = np.array([[float(r["heading_degrees"]), float(r["heading_confidence"])] for r in rows])
    return points, *angle.T


def impossible_lengths(points: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """Frames where two points lie nearer, or further apart, than in any labelled picture: [2, T].

    Nearer may be foreshortened, as the head of an animal that looks down.
    """
    wrong = np.zeros((2, len(points)), bool)
    for a, b in itertools.combinations(range(points.shape[1]), 2):
        known = np.linalg.norm(labelled[:, a] - labelled[:, b], axis=-1)
        found = np.linalg.norm(points[:, a] - points[:, b], axis=-1)
        wrong[0] |= found < np.nanmin(known) / SLACK
        wrong[1] |= found > np.nanmax(known) * SLACK
    return wrong


def main(arguments: list[str] | None = None) -> None:
    """Prints a line for each track."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tracks", type=Path, nargs="+", required=True, help="csv of predict")
    parser.add_argument("--data", type=Path, required=True, help="labelled, of the same scale")
    options = parser.parse_args(arguments)
    labelled = listing.list_labelled(options.data)
    for path in options.tracks:
        points, degrees, confidence = read_tracks(path, labelled.keypoints)
        nearer, further = map(np.flatnonzero, impossible_lengths(points, labelled.points))
        steps = np.linalg.norm(np.diff(points, axis=0), axis=-1).max(1)
        turns = np.abs(heading.difference(degrees[1:], degrees[:-1]))
        print(
            f"{path}: {len(points)} frames, points too near in {len(nearer)} and too far apart in "
            f"{len(further)}, "
            f"{(steps > JUMP).sum()} jumps over {JUMP:g} pixels, "
            f"{(turns > TURN).sum()} of heading over {TURN:g} degrees, "
            f"{(confidence < 0.5).sum()} of confidence below .5"
        )
        print(f"  too near: {_runs(nearer)}; too far apart: {_runs(further)}")


def _runs(frames: np.ndarray) -> str:
    """1, 2, 3, 7 -> '1-3, 7'."""
    parts = np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1) if len(frames) else []
    return ", ".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else f"{p[0]}" for p in parts) or "none"


if __name__ == "__main__":
    main()
