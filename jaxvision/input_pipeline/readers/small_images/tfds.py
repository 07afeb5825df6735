"""Image data sets of TensorFlow Datasets, such as mnist and cifar10."""

from pathlib import Path

import numpy as np

from jaxvision.errors import UserError


def read(config, path: Path) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], list[str]]:
    """({split: (images uint8 [N, H, W, C], labels int32 [N])}, class names).

    What is not yet under `path` is downloaded and prepared there, which needs TensorFlow; reading
    that again does not.

    Args:
      config: `data.tfds` is the data set's name.
      path: TFDS' data_dir.

    Raises:
      UserError: tensorflow-datasets is not installed, no such data set, no download, no images of
        one size with labels.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise UserError('data.tfds needs tensorflow-datasets: pip install -e ".[tf]"') from error
    name = config.data.tfds
    try:
        builder = tfds.builder(name, data_dir=str(path))
        if not builder.is_prepared():
            builder = tfds.builder(name, data_dir=str(path), file_format="array_record")
            builder.download_and_prepare()
        features = builder.info.features
        if not {"image", "label"} <= set(features) or None in features["image"].shape:
            raise UserError("it has no images of one size with labels")
        named = {"validation": "val"}
        splits = {named.get(s, s): _arrays(tfds, builder, s) for s in builder.info.splits}
    except Exception as error:  # downloads, disks and TFDS itself fail in many ways
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"data.tfds={name!r} cannot be had in {path}: {reason}") from error
    return splits, features["label"].names


def _arrays(tfds, builder, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Every row; files of another kind than array_record are TensorFlow's to read."""
    if builder.info.file_format.value == "array_record":
        rows = builder.as_data_source(split)
    else:
        rows = tfds.as_numpy(builder.as_dataset(split, shuffle_files=False))
    images, labels = zip(*((row["image"], row["label"]) for row in rows), strict=True)
    return np.stack(images), np.array(labels, np.int32)
