"""The noise of labels is found where it is known, and a film's faults are counted."""

import numpy as np
from scipy import ndimage

from benchmarks import keypoint_film, keypoint_labels
from jaxvision.tasks.keypoints.heading import Angle

ANGLE = Angle("head_direction", (1, 2), (0,))
HEAD = np.array([[0.0, -8.0], [-7.0, 1.0], [7.0, 1.0]])  # snout and ears, from their middle


def heads(count, noise):
    """Frames of one texture, turned and moved, with labels that are `noise` pixels off."""
    rng = np.random.default_rng(0)
    texture = ndimage.gaussian_filter(rng.normal(0, 1, (121, 121)), 2.5) * 500
    frames, points = [], []
    for turn in rng.uniform(-0.4, 0.4, count):
        cos, sin = np.cos(turn), np.sin(turn)
        turned = np.array([[cos, sin], [-sin, cos]])  # rows and columns, of the frame to before
        offset = np.array([60, 60]) - turned @ [60 + rng.uniform(-3, 3), 60 + rng.uniform(-3, 3)]
        frames.append(ndimage.affine_transform(texture, turned, offset, order=3))
        before = HEAD[:, ::-1] + 60  # y, x
        place = (before - offset) @ np.linalg.inv(turned).T
        points.append(place[:, ::-1] + rng.normal(0, noise, HEAD.shape))
    return frames, np.array(points)


def test_registered_heads_tell_the_noise_of_their_labels():
    for noise, low, high in ((0.0, 0.0, 0.3), (1.0, 0.6, 1.4)):
        frames, points = heads(8, noise)
        pairs = [
            keypoint_labels.register(frames, points, i, j, 14)
            for i in range(8)
            for j in range(i + 1, 8)
        ]
        assert min(pair.likeness for pair in pairs) > 0.95
        left = np.stack([pair.left for pair in pairs])
        assert low <= np.sqrt((left**2).mean() / 2) <= high
        degrees = keypoint_labels.angle_noise(pairs, points, ANGLE).mean() / np.sqrt(2)
        # Of a normal distribution the mean distance is .8; the ears' middle has less noise.
        expected = np.degrees(0.8 * noise * np.sqrt(1.5) / 9)
        assert abs(degrees - expected) < 0.5 + 0.3 * expected


def test_what_is_too_near_and_too_far_in_a_film_is_counted(tmp_path, capsys):
    labelled = np.tile([[10.0, 10.0], [10.0, 13.0], [10.0, 33.0]], (4, 1, 1)).astype(np.float32)
    np.savez(
        tmp_path / "rats.npz",
        images=np.zeros((4, 50, 50), np.uint8),
        **{f"locs_{n}": labelled[:, k] for k, n in enumerate(("head", "neck", "base"))},
    )
    header = [f"{n}_{w}" for n in ("head", "neck", "base") for w in ("x", "y", "confidence")]
    lines = [",".join(["frame", *header, "heading_degrees", "heading_confidence"])]
    for frame in range(9):
        base = 33.0 if frame < 5 else 13.5 if frame < 7 else 45.0
        degrees, certain = (90.0, 0.9) if frame < 5 else (-120.0, 0.2)
        row = [frame, 10, 10, 1, 10, 13, 1, 10, base, 1, degrees, certain]
        lines.append(",".join(map(str, row)))
    (tmp_path / "film.csv").write_text("\n".join(lines))
    keypoint_film.main(
        ["--tracks", str(tmp_path / "film.csv"), "--data", str(tmp_path / "rats.npz")]
    )
    told = capsys.readouterr().out
    assert "9 frames, points too near in 2 and too far apart in 2, 2 jumps over 5 pixels" in told
    assert "1 of heading over 45 degrees, 4 of confidence below .5" in told
    assert "too near: 5-6; too far apart: 7-8" in told
