"""A picture that is a cell of a parquet file, read when it is needed."""

import functools
import threading
from pathlib import Path
from typing import Any, NamedTuple

from jaxvision.errors import UserError

_reading = threading.Lock()


class Cell(NamedTuple):
    """A picture in a parquet file; picklable, and holds no pixels.

    Attributes:
      file: path of the parquet file.
      group: its row group.
      row: in the group.
      column: of the pictures.
    """

    file: str
    group: int
    row: int
    column: str

    def __fspath__(self) -> str:
        return self.file

    def content(self) -> bytes:
        """The picture's file.

        Raises:
          UserError: there is none.
        """
        with _reading:  # rows read in order need a group once, whichever thread asks first
            value = _group(self.file, self.group, self.column)[self.row]
        path = None
        if isinstance(value, dict):
            value, path = value.get("bytes"), value.get("path")
        if value is None and path:
            value = (Path(self.file).parent / path).read_bytes()
        if not isinstance(value, bytes):
            raise UserError("the row holds no picture")
        return value


@functools.lru_cache(maxsize=2)  # a group may be hundreds of MB
def _group(file: str, group: int, column: str) -> list[Any]:
    return open_parquet(Path(file)).read_row_group(group, columns=[column]).column(0).to_pylist()


def open_parquet(file: Path) -> Any:
    """pyarrow's ParquetFile.

    Raises:
      UserError: pyarrow is not installed; the file is damaged.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UserError('parquet files need pyarrow: pip install -e ".[parquet]"') from error
    try:
        return pyarrow.parquet.ParquetFile(file)
    except (pyarrow.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{file} cannot be read as parquet: {reason}") from error
