"""The columns of results, as Arrow has them."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

_TYPES = {
    str: pa.string(),
    bytes: pa.binary(),
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
}
ENTRIES = pa.schema(
    [
        ("id", pa.string()),
        ("path", pa.binary()),
        ("offset", pa.int64()),
        ("size", pa.int64()),
        ("problem", pa.string()),
    ]
)


def results(columns: Mapping[str, Any]) -> pa.Schema:
    """id, the task's own columns, and error, which is null where all went well.

    Args:
      columns: of `jaxvision.task.Predictor`.
    """
    fields = [(name, arrow_type(kind)) for name, kind in columns.items()]
    return pa.schema([("id", pa.string()), *fields, ("error", pa.string())])


def arrow_type(kind: Any) -> pa.DataType:
    """Of a type as `Predictor.columns` writes it."""
    if isinstance(kind, list):
        return pa.list_(arrow_type(kind[0]))
    if isinstance(kind, dict):
        return pa.struct([(name, arrow_type(inner)) for name, inner in kind.items()])
    return _TYPES[kind]
