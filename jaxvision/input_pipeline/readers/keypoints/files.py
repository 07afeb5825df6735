"""Pictures with named points as people keep them: an npz, a csv, or a DeepLabCut project.

Every format becomes a `Labelled`. Points are (x, y) in pixels, (0, 0) at the centre of the top left
pixel; NaN where a point is not known.
"""

import functools
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxvision.errors import FileError
from jaxvision.input_pipeline import images

IMAGE_KEYS = ("images", "imgs", "image")
POINT_PREFIXES = ("locs_", "loc_")
# Plurals of the published names: some files say locs_necks.
SINGULAR = {"heads": "head", "necks": "neck", "bases": "base"}


class Labelled(NamedTuple):
    """Pictures and their points, nothing checked against the pixels yet.

    Attributes:
      names: one a picture, unique, in the order of recording as far as the format tells.
      keypoints: names of the points.
      points: float32 [N, K, 2].
      read: decodes picture i to uint8 [H, W, 3]; picklable.
      files: the picture files; () where all is in one npz.
      splits: 'train', 'val' or 'test' each; () where the user gave none.
      groups: what must stay on one side of a split; () where the user gave none.
      notes: one line each for the log.
    """

    names: Sequence[str]
    keypoints: Sequence[str]
    points: np.ndarray
    read: Callable[[int], np.ndarray]
    files: Sequence[str] = ()
    splits: Sequence[str] = ()
    groups: Sequence[str] = ()
    notes: Sequence[str] = ()


def read_npz(path: Path) -> Labelled:
    """`images` uint8 [N, H, W] or [N, H, W, C] and `locs_<point>` [N, 2] for each point.

    Raises:
      FileError: no npz, wrong keys, shapes or types, arrays of pickled objects.
    """
    arrays = open_npz(path)
    images_key = find_images(arrays, path)
    keys = {}
    for key in arrays:
        prefix = next((p for p in POINT_PREFIXES if key.startswith(p)), None)
        if prefix:
            name = key.removeprefix(prefix)
            keys[SINGULAR.get(name, name)] = key
    if not keys:
        raise FileError(
            f"{path} holds no points, that is no array named locs_<point> such as locs_head; it "
            f"holds {_listed(arrays)}"
        )
    # One order whatever order they were saved in, so that a model fits another file too.
    order = {name: i for i, name in enumerate(SINGULAR.values())}
    keys = dict(sorted(keys.items(), key=lambda item: (order.get(item[0], len(order)), item[0])))
    pictures = NpzPictures(str(path), images_key)
    count = len(pictures.array())
    points = []
    for key in keys.values():
        values = np.asarray(arrays[key])
        if values.shape != (count, 2) or values.dtype.kind not in "fiu":
            raise FileError(
                f"{path}: {key} is {values.dtype} {list(values.shape)}; numbers [{count}, 2], x "
                f"and y of each of the {count} images, were expected"
            )
        points.append(values.astype(np.float32))
    names = [f"{path.stem}_{i:05d}" for i in range(count)]
    unused = [key for key in arrays if key != images_key and key not in keys.values()]
    notes = [f"arrays of {path.name} that are not used: {', '.join(unused)}"] if unused else []
    return Labelled(names, tuple(keys), np.stack(points, 1), pictures, notes=notes)


def open_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an npz.

    Raises:
      FileError: it is missing or damaged, or an array would have to be unpickled.
    """
    arrays, key = {}, None
    try:
        with np.load(path, allow_pickle=False) as file:
            if not hasattr(file, "files"):
                raise FileError(f"{path} is a single array; save named arrays with numpy.savez")
            for key in file.files:
                arrays[key] = file[key]
    except FileError:
        raise
    except (OSError, zipfile.BadZipFile, EOFError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FileError(f"cannot read {path} as npz: {reason}") from error
    except ValueError as error:
        if key is None:
            raise FileError(f"cannot read {path} as npz: it is no numpy file") from error
        raise FileError(
            f"{path}: {key} is an array of pickled objects, which is refused: loading it could run "
            "any code. Save it as a plain array of numbers"
        ) from error
    return arrays


def find_images(arrays: dict[str, np.ndarray], path: Path) -> str:
    """The key of the pictures.

    Raises:
      FileError: there is none, or it is not uint8 [N, H, W] or [N, H, W, C].
    """
    key = next((key for key in IMAGE_KEYS if key in arrays), None)
    if key is None:
        raise FileError(f"{path} has no array 'images'; it holds {_listed(arrays)}")
    array = arrays[key]
    if (
        array.dtype != np.uint8
        or array.ndim not in (3, 4)
        or (array.ndim == 4) > (array.shape[-1] in (1, 3))
    ):
        raise FileError(
            f"{path}: {key} is {array.dtype} {list(array.shape)}; uint8 [N, H, W], or [N, H, W, C] "
            "with C of 1 or 3, was expected"
        )
    if not len(array):
        raise FileError(f"{path}: {key} holds no picture")
    return key


def _listed(arrays: dict[str, np.ndarray]) -> str:
    shown = [f"{key} {list(array.shape)}" for key, array in arrays.items()]
    return ", ".join(shown) or "nothing"


class NpzPictures(NamedTuple):
    """Reads pictures of an npz; picklable, and holds no pixels itself."""

    path: str
    key: str

    def array(self) -> np.ndarray:
        """uint8 [N, H, W, C]."""
        return _npz_pictures(self.path, self.key)

    def __call__(self, row: int) -> np.ndarray:
        return np.broadcast_to(picture := self.array()[row], (*picture.shape[:2], 3))


@functools.lru_cache(maxsize=2)
def _npz_pictures(path: str, key: str) -> np.ndarray:
    with np.load(path, allow_pickle=False) as file:
        array = file[key]
    return array[..., None] if array.ndim == 3 else array


class FilePictures(NamedTuple):
    """Decodes picture files, by `data.range`; picklable."""

    files: Sequence[str]
    value_range: tuple[float, ...] = ()

    def __call__(self, row: int) -> np.ndarray:
        return images.decode_image(self.files[row], self.value_range)
