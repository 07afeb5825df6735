"""Facial expressions: fer2013.csv, AffectNet as it is distributed, or whatever `classes` reads.

`fer_csv` and `affectnet` say what those look like; class folders, parquet and so on are in
`classes`.
"""

from pathlib import Path
from typing import Any

from jaxvision.errors import UserError
from jaxvision.input_pipeline import classes
from jaxvision.input_pipeline.dataset import Dataset
from jaxvision.input_pipeline.readers.expressions import affectnet, fer_csv


def load(config: Any) -> Dataset:
    """Reads config.data.path, a .csv file or a folder; rows as `labelled.make_dataset` gives them.

    Raises:
      UserError: the path or what it holds cannot be used.
    """
    path = Path(config.data.path).expanduser()
    if not path.exists() and not config.data.tfds:
        raise UserError(
            f"data.path={str(path)!r} does not exist: give a folder, fer2013.csv or AffectNet's csv"
        )
    if path.suffix.lower() == ".parquet" or config.data.tfds:
        return classes.load(config)
    if not config.data.label:  # a column, which AffectNet's own layouts do not have
        listed = affectnet.find(path)
        if listed is not None:
            return affectnet.make_dataset(listed, path, config)
    return classes.load(config) if path.is_dir() else fer_csv.load(path, config)
