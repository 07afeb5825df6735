"""Small pictures, in folders and tar files, and what was predicted of them."""

import io
import tarfile

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

FER = "--workdir=zoo/fer"


def encoded(seed, size=(48, 48), kind="PNG"):
    """The bytes of a picture's file; another picture for each seed."""
    rng = np.random.default_rng(seed)
    pixels = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).resize(size)
    file = io.BytesIO()
    pixels.save(file, kind)
    return file.getvalue()


def folder_of(path, count, **options):
    """`count` pictures, 0.png and so on, in the folder `path`."""
    path.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        (path / f"{seed}.png").write_bytes(encoded(seed, **options))
    return path


def tar_of(path, members):
    """A tar file of {name: bytes}."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            tar.addfile(about, io.BytesIO(data))
    return path


def rows(output):
    """{id: row without it}, of all shards; an id that comes twice fails."""
    table = pq.read_table(output / "predictions").to_pylist()
    found = {row.pop("id"): row for row in table}
    assert len(found) == len(table)
    return found
