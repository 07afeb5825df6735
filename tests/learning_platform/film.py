"""A film of faces as Chromium's camera: JPEG frames, one behind the other."""

import io
import tarfile
from pathlib import Path

from PIL import Image, ImageEnhance

FACES = {"bright": 160.0, "dark": 80.0}  # mean gray levels that the tests' model tells apart


def read_faces(archive: Path, count: int = 40) -> list[Image.Image]:
    """The first happy faces of FER2013's archive, gray, 48 x 48."""
    faces = []
    with tarfile.open(archive) as tar:
        for member in tar:
            if "/happy/" in member.name and member.name.endswith(".jpg"):
                faces.append(Image.open(io.BytesIO(tar.extractfile(member).read())).convert("L"))
                if len(faces) == count:
                    break
    return faces


def frame(face: Image.Image | None, level: float, background: int = 110) -> bytes:
    """One 640 x 480 frame: a face of that mean gray level in the middle, or none."""
    picture = Image.new("L", (640, 480), background)
    if face:
        mean = sum(i * n for i, n in enumerate(face.histogram())) / (48 * 48)
        lit = ImageEnhance.Brightness(face).enhance(level / max(mean, 1))
        picture.paste(lit.resize((260, 260), Image.Resampling.BICUBIC), (190, 100))
    file = io.BytesIO()
    picture.convert("RGB").save(file, "JPEG", quality=92)
    return file.getvalue()


def write_film(path: Path, parts: list[tuple[bytes, int]]) -> Path:
    """Writes frames, each repeated so many times (the camera runs at about 30 a second)."""
    path.write_bytes(b"".join(data * times for data, times in parts))
    return path
