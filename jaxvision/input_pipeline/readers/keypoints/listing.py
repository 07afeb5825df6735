"""Which kind of file or folder the user's pictures with points are kept in."""

from pathlib import Path

from jaxvision.errors import UserError
from jaxvision.input_pipeline import folders
from jaxvision.input_pipeline.readers.keypoints import deeplabcut, files
from jaxvision.input_pipeline.readers.keypoints.tables import read_csv


def list_labelled(path: Path) -> files.Labelled:
    """Whatever `data.path` names.

    Raises:
      UserError: it does not exist or is of none of the kinds.
    """
    if not path.exists():
        raise UserError(
            f"data.path {path} does not exist; give an npz, a csv or a project's folder"
        )
    if path.is_dir():
        others = folders.read_folder(path).others
        tables = [place for place in others if place.suffix.lower() == ".csv"]
        if deeplabcut.is_project(path):
            return deeplabcut.read_project(path)
        if len(tables) == 1:
            return read_csv(tables[0])
        raise UserError(
            f"{path} is no DeepLabCut project (labeled-data/*/CollectedData_*.csv) and holds "
            f"{len(tables)} csv files; name the csv or npz itself"
        )
    if path.suffix.lower() == ".npz":
        return files.read_npz(path)
    if path.suffix.lower() == ".csv":
        return deeplabcut.read_table(path) if deeplabcut.is_table(path) else read_csv(path)
    if path.suffix.lower() in (".h5", ".hdf5"):
        return deeplabcut.read_table(path)
    raise UserError(f"data.path {path} is no npz, csv, h5 or folder; give one of these")
