"""How far labels of points are from themselves: the error that no network can go below.

python -m benchmarks.keypoint_labels --data=/data/openfield/keypoints.csv

Pictures of one animal soon after each other show the same head, moved and turned. Its pixels tell
by how much (a rotation and a shift that make them alike), and so where the first picture's labels
should lie in the second; what is left between the two labels is the noise of both. Where the head
also nods or rolls the pictures are less alike: rows by likeness tell whether that matters.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage, optimize

from configs import rat
from jaxvision.input_pipeline import views
from jaxvision.input_pipeline.readers.keypoints import listing
from jaxvision.tasks.keypoints import heading

LIKENESS = (0.0, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99)
TURNS = (-0.25, 0.0, 0.25)  # radians about what the labels say, where the search begins
REACH = 1.6  # radius of what is compared, in distances of the points from their middle
MARGIN = 100  # pixels, so that no head lies at a border
DRAWS = 2000  # of the bootstrap


class Pair(NamedTuple):
    """Two pictures, registered.

    Attributes:
      first, second: their indices.
      likeness: correlation of the pixels, after registration.
      turn: radians from x to y.
      left: float [K, 2], the second's labels less the first's, moved; pixels.
    """

    first: int
    second: int
    likeness: float
    turn: float
    left: np.ndarray


def read_heads(path: Path):
    """Blurred gray frames with a margin, the head's points [N, K, 2] in them, and their angle."""
    labelled = listing.list_labelled(path)
    angles = heading.find_angles(tuple(labelled.keypoints), rat.get_config().heading)
    angle = next(a for a in angles if a.name == "head_direction")
    frames = [
        ndimage.gaussian_filter(
            np.pad(views.gray(labelled.read(i))[..., 0].astype(float), MARGIN, mode="edge"), 1.0
        )
        for i in range(len(labelled.names))
    ]
    chosen = [*angle.end, *angle.start]
    ends = tuple(range(len(angle.end)))
    inner = heading.Angle(angle.name, tuple(range(len(ends), len(chosen))), ends)
    names = [labelled.keypoints[k] for k in chosen]
    return frames, labelled.points[:, chosen].astype(float) + MARGIN, inner, names


def register(frames, points, first: int, second: int, radius: float) -> Pair:
    """Turns and shifts the head of one picture until it looks like that of the other."""
    ys, xs = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    inside = xs**2 + ys**2 <= radius**2
    xs, ys = xs[inside], ys[inside]
    here, there = points[first].mean(0), points[second].mean(0)
    own = ndimage.map_coordinates(frames[first], [here[1] + ys, here[0] + xs], order=1)

    def unlike(motion):
        x, y = _turned(motion, xs, ys)
        seen = ndimage.map_coordinates(frames[second], [there[1] + y, there[0] + x], order=1)
        return 1 - np.corrcoef(own, seen)[0, 1]

    before, after = points[first] - here, points[second] - there
    guess = np.angle(((after @ [1, 1j]) * np.conj(before @ [1, 1j])).sum())
    steps = np.array([[0, 0, 0], [4, 0, 0], [0, 4, 0], [0, 0, 0.2]])
    found = [
        optimize.minimize(
            unlike,
            [0, 0, guess + turn],
            method="Nelder-Mead",
            options={
                "initial_simplex": steps + [0, 0, guess + turn],
                "xatol": 0.01,
                "fatol": 1e-5,
                "maxiter": 200,
            },
        )
        for turn in TURNS
    ]
    best = min(found, key=lambda result: result.fun)
    moved = there + np.stack(_turned(best.x, *before.T), -1)
    return Pair(first, second, 1 - best.fun, best.x[2], points[second] - moved)


def _turned(motion, x, y):
    cos, sin = np.cos(motion[2]), np.sin(motion[2])
    return cos * x - sin * y + motion[0], sin * x + cos * y + motion[1]


def angle_noise(pairs, points, angle) -> np.ndarray:
    """Of each pair, degrees between the labelled turn and the seen one: the noise of two labels."""
    degrees = heading.angles_of(points, (angle,))[:, 0]
    seen = np.array([-np.degrees(p.turn) for p in pairs])  # angles count against y
    labelled = np.array([degrees[p.second] - degrees[p.first] for p in pairs])
    return np.abs(heading.difference(labelled, seen))


def spread_of(values: np.ndarray, clusters: np.ndarray) -> tuple[float, float]:
    """90 % interval of the mean, whole clusters (the pairs of one picture) drawn together."""
    rng, names = np.random.default_rng(0), np.unique(clusters)
    sums = np.array([[values[clusters == n].sum(), (clusters == n).sum()] for n in names])
    drawn = sums[rng.integers(0, len(names), (DRAWS, len(names)))].sum(1)
    return tuple(np.percentile(drawn[:, 0] / drawn[:, 1], [5, 95]))


def main(arguments: list[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="what data.path would be, full-size frames"
    )
    parser.add_argument("--apart", type=int, default=3, help="pictures, at most")
    options = parser.parse_args(arguments)
    frames, points, angle, names = read_heads(options.data)
    size = np.median(np.linalg.norm(points - points.mean(1, keepdims=True), axis=-1))
    radius, count = round(REACH * float(size)), len(frames)
    pairs = [
        register(frames, points, i, j, radius)
        for i in range(count)
        for j in range(i + 1, min(i + options.apart + 1, count))
    ]
    likeness, noise = np.array([p.likeness for p in pairs]), angle_noise(pairs, points, angle)
    first = np.array([p.first for p in pairs])
    print(f"{count} pictures, {len(pairs)} pairs, discs of {radius} pixels about the head")
    print(f"likeness | pairs | standard deviation of a label, pixels: {', '.join(names)}"
          " | head direction of one label, mean error, degrees (90 %) | median")  # fmt: skip
    for least in LIKENESS:
        chosen = likeness >= least
        if chosen.sum() < 8:
            continue
        left = np.stack([p.left for p, c in zip(pairs, chosen, strict=True) if c])
        deviations = np.sqrt((left**2).mean((0, 2)) / 2)
        one = noise[chosen] / np.sqrt(2)  # of two labels each, independent
        low, high = spread_of(one, first[chosen])
        print(f"{least:4.2f} | {chosen.sum()} | {', '.join(f'{d:.2f}' for d in deviations)}"
              f" | {one.mean():.1f} ({low:.1f} to {high:.1f}) | {np.median(one):.1f}")  # fmt: skip


if __name__ == "__main__":
    main()
