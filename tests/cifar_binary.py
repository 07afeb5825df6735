"""The official binary layout of CIFAR-10, from the lossless sheets beside the checkout."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image


def write_official(archive: Path, folder: Path, train_sheets: int, test_sheets: int) -> None:
    """Writes data_batch_1.bin ... and test_batch.bin, 3,073 bytes a row: label, then planes.

    Args:
      archive: a tar of WebP sheets, each 500 images of 32 x 32 on top of each other, and
        labels.json.
      folder: to write to.
      train_sheets, test_sheets: how many sheets of each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as tar:
        members = {Path(m.name).name: m for m in tar.getmembers() if m.isfile()}
        labels = json.load(tar.extractfile(members["labels.json"]))

        def rows(name):
            sheet = Image.open(io.BytesIO(tar.extractfile(members[name]).read())).convert("RGB")
            images = np.asarray(sheet).reshape(-1, 32, 32, 3)
            planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
            return np.concatenate([np.array(labels[name], np.uint8)[:, None], planes], axis=1)

        for prefix, count, stem in (
            ("train", train_sheets, "data_batch_{}.bin"),
            ("test", test_sheets, "test_batch.bin"),
        ):
            names = sorted(n for n in members if n.startswith(prefix) and n.endswith(".webp"))
            found = np.concatenate([rows(name) for name in names[:count]])
            parts = np.array_split(found, 5) if prefix == "train" else [found]
            for i, part in enumerate(parts):
                part.tofile(folder / stem.format(i + 1))
