"""Films that end before their time are told, after the last good frame."""

import numpy as np
import pytest

from jaxvision.errors import UserError
from jaxvision.input_pipeline import video

av = pytest.importorskip("av", reason="films need PyAV")
FRAMES = 60
CODECS = {
    "mp4": ("libx264", {"movflags": "faststart"}),
    "mkv": ("libx264", {}),
    "webm": ("libvpx", {}),
    "avi": ("mjpeg", {}),
    "mpg": ("mpeg2video", {}),
}


def write(path, codec, options, sound_seconds=0.0):
    noise = np.random.default_rng(0).integers(0, 255, (FRAMES, 32, 32, 3), np.uint8)
    with av.open(str(path), "w", options=options) as file:
        stream = file.add_stream(codec, rate=25)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        sound = file.add_stream("aac", rate=8000) if sound_seconds else None
        for pixels in noise:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        file.mux(stream.encode(None))
        if sound:
            silence = np.zeros((1, round(8000 * sound_seconds)), np.float32)
            frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
            frame.rate, frame.pts = 8000, 0
            fifo = av.AudioFifo()
            fifo.write(frame)
            while part := fifo.read(1024, partial=True):
                file.mux(sound.encode(part))
            file.mux(sound.encode(None))
    return path


@pytest.mark.parametrize("kind", CODECS)
def test_a_film_cut_in_half_is_told_after_its_last_frame(tmp_path, kind):
    path = write(tmp_path / f"a.{kind}", *CODECS[kind])
    rate, frames = video.read_video(path)
    assert rate == 25 and len(list(frames)) == FRAMES
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = []
    with pytest.raises(video.CutShort, match=rf"a.{kind}: damaged or cut short after") as raised:
        for frame in video.read_video(path)[1]:
            found.append(frame.shape)
    assert raised.value.frames == len(found) and FRAMES * 0.3 < len(found) < FRAMES * 0.6
    assert isinstance(raised.value, UserError) and "\n" not in str(raised.value)
    if kind != "mpg":  # which says nowhere how long it is
        assert f"after {len(found)} of about {FRAMES} frames" in str(raised.value)


def test_sound_that_is_longer_is_no_cut(tmp_path):
    path = write(tmp_path / "a.mp4", *CODECS["mp4"], sound_seconds=4.0)
    assert len(list(video.read_video(path)[1])) == FRAMES
