"""CIFAR-10 (Krizhevsky 2009) as published: the binary or the python version."""

import pickle
from pathlib import Path

import numpy as np

from jaxvision.errors import UserError

# As in batches.meta, in the order of their numbers.
CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
ROW = 1 + 3 * 32 * 32  # bytes: the label, then the red, green and blue planes


def found(path: Path) -> bool:
    """Whether the folder, or the one that the archive unpacks to in it, holds CIFAR-10 batches."""
    return _folder(path) is not None


def read(path: Path) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], list[str]]:
    """({split: (images uint8 [N, 32, 32, 3], labels int32 [N])}, class names) of a folder.

    Raises:
      UserError: a file is damaged.
    """
    folder, splits = _folder(path), {}
    for split, stem in (("train", "data_batch_"), ("test", "test_batch")):
        files = _batches(folder, stem)
        if files:
            parts = [_read_bin(f) if f.suffix == ".bin" else _read_python(f) for f in files]
            images, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
            planes = images.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)  # [N, 32, 32, 3]
            splits[split] = np.ascontiguousarray(planes), labels.astype(np.int32)
    return splits, list(CLASSES)


def _folder(path: Path) -> Path | None:
    for folder in (path, path / "cifar-10-batches-bin", path / "cifar-10-batches-py"):
        if any(_batches(folder, stem) for stem in ("data_batch_", "test_batch")):
            return folder
    return None


def _batches(folder: Path, stem: str) -> list[Path]:
    return sorted(p for p in folder.glob(f"{stem}*") if p.suffix in ("", ".bin") and p.is_file())


def _read_bin(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Rows of pixels uint8 [N, 3072] and labels [N]."""
    content = np.fromfile(path, np.uint8)
    if not len(content) or len(content) % ROW:
        raise UserError(f"{path}: {len(content)} bytes are no multiple of {ROW}; download it again")
    rows = content.reshape(-1, ROW)
    return rows[:, 1:], rows[:, 0]


class _OnlyArrays(pickle.Unpickler):
    """Unpickles what the official files hold, and nothing that could run code."""

    _ALLOWED = {
        ("numpy.core.multiarray", "_reconstruct"): ("numpy._core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"): ("numpy._core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"): ("numpy", "ndarray"),
        ("numpy", "dtype"): ("numpy", "dtype"),
        ("_codecs", "encode"): ("_codecs", "encode"),
    }

    def find_class(self, module, name):
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(*self._ALLOWED[module, name])


def _read_python(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with open(path, "rb") as file:
            batch = _OnlyArrays(file, encoding="bytes").load()
        images, labels = np.asarray(batch[b"data"]), np.asarray(batch[b"labels"])
        if images.dtype != np.uint8 or images.shape != (len(labels), ROW - 1):
            raise ValueError(f"data of shape {images.shape} and type {images.dtype}")
    except Exception as error:  # a damaged pickle raises nearly anything
        raise UserError(f"{path}: no official CIFAR-10 python batch ({error})") from error
    return images, labels
