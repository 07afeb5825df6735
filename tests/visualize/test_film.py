"""Films written and read back: the frames, their number, their rate, and what cannot work."""

import sys

import numpy as np
import pytest

from jaxvision.errors import UserError
from jaxvision.input_pipeline.video import read_video
from jaxvision.visualize.film import write_film


def moving_square(count=12, height=49, width=63):
    """A bright square that moves two pixels a frame; the sides are odd."""
    frames = np.full((count, height, width, 3), (30, 60, 90), np.uint8)
    for i, frame in enumerate(frames):
        frame[10:20, 2 * i : 2 * i + 10] = (250, 200, 40)
    return frames


@pytest.mark.parametrize("fps", [30, 29.97, 12.5])
def test_a_film_comes_back_frame_by_frame(tmp_path, fps):
    path, frames = tmp_path / "films" / "square.mp4", moving_square()
    assert write_film(path, iter(frames), fps) == 12
    rate, decoded = read_video(path)
    decoded = list(decoded)
    assert rate == pytest.approx(fps, rel=1e-4) and len(decoded) == 12
    assert decoded[0].shape == (50, 64, 3) and decoded[0].dtype == np.uint8
    for before, after in zip(frames, decoded, strict=True):
        # Chroma has half the resolution, so edges of colour blur: compare well inside and outside.
        assert np.abs(before.astype(int) - after[:49, :63]).mean() < 6
        left = np.flatnonzero(after[15, :, 0] > 150).min()
        assert abs(left - np.flatnonzero(before[15, :, 0] > 150).min()) <= 1


def test_a_film_held_sideways_is_turned_upright(tmp_path):
    path = tmp_path / "phone.mp4"
    write_film(path, moving_square(2), 30)
    data = path.read_bytes()
    matrix = np.array([1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30], ">i4").tobytes()
    # x' = -y, y' = x: what a phone held upright writes, a quarter turn clockwise.
    turned = np.array([0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30], ">i4").tobytes()
    at = data.index(matrix, data.index(b"tkhd"))
    path.write_bytes(data[:at] + turned + data[at + len(turned) :])
    frame = next(read_video(path)[1])
    assert frame.shape == (64, 50, 3)
    assert frame[:10, 30:40, 0].mean() > 200  # rows 10 to 19 from the top: now from the right


def test_sizes_that_change_and_empty_films_leave_no_file(tmp_path):
    path = tmp_path / "bad.mp4"
    frames = moving_square()
    with pytest.raises(UserError, match=r"frame 1 is \(10, 63, 3\), the first \(49, 63, 3\)"):
        write_film(path, [frames[0], frames[1][:10]], 30)
    with pytest.raises(UserError, match="no frame to write"):
        write_film(path, [], 30)
    with pytest.raises(UserError, match="film of 0 frames a second"):
        write_film(path, frames, 0)
    assert not list(tmp_path.iterdir())


def test_what_is_no_film_is_named(tmp_path):
    (tmp_path / "text.mp4").write_text("not a film")
    for path, reason in (("text.mp4", "invalid data"), ("missing.mp4", "no such file")):
        with pytest.raises(UserError, match=f"{path}: {reason}"):
            read_video(tmp_path / path)


def test_a_film_cut_short_gives_the_frames_before_the_cut_or_says_so(tmp_path):
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    write_film(whole, moving_square(60), 30)
    cut.write_bytes(whole.read_bytes()[:-200])  # its index is at the end
    with pytest.raises(UserError, match="cut.mp4"):
        list(read_video(cut)[1])


def test_without_pyav_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r'films need PyAV: pip install -e ".\[video\]"'):
        read_video(tmp_path / "any.mp4")
    with pytest.raises(UserError, match=r"\[video\]"):
        write_film(tmp_path / "any.mp4", moving_square(1), 30)
