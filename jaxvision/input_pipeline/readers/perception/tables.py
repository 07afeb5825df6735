"""Tables of scores and votes: their rows, their columns, and what they say twice."""

import csv
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxvision.errors import UserError

# Columns of a csv of scores that are known; a cell may be empty.
OTHER_COLUMNS = ("file", "city", "lat", "lon", "split")
OTHER_NAMES = {"latitude": "lat", "longitude": "lon", "lng": "lon"}
# Names of columns that number or name rows, and score nothing.
_NUMBERING = re.compile(
    r"(|id|uid|uuid|index|idx|no|nr|number|row|unnamed: ?\d+|.*[_ .-]id|id[_ ].*)"
)


def score_columns(header: Sequence[str], rows: Sequence[dict[str, str]]) -> tuple[list, list]:
    """(columns that are scores, columns that are not used) of those beside OTHER_COLUMNS.

    A column that only numbers the rows (0, 1, 2, ... or 1, 2, 3, ...) scores nothing whatever it is
    called, nor does one that is called id, index or alike.
    """
    scores, unused = [], []
    for name in header:
        if name in OTHER_COLUMNS:
            continue
        cells = [row[name] for row in rows]
        counts = len(rows) > 2 and cells in (
            [str(i) for i in range(len(rows))],
            [str(i) for i in range(1, len(rows) + 1)],
        )
        first = name == header[0]
        numbering = _NUMBERING.fullmatch(name.lower()) or (counts and first)
        (unused if numbering else scores).append(name)
    return scores, unused


def read_table(
    path: Path, needed: Sequence[str], delimiter: str
) -> Iterator[tuple[int, dict[str, str]]]:
    """(row number, {column: text}) of every row that is not blank; the header is row 1.

    Raises:
      UserError: not UTF-8 text, a column in `needed` is missing, or there are no rows.
    """
    empty = True
    try:
        # utf-8-sig: spreadsheets put a byte order mark first.
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file, delimiter=delimiter)
            header = [name.strip() for name in next(lines, [])]
            missing = [name for name in needed if name not in header]
            if missing:
                raise UserError(
                    f"{path} has no column {', '.join(missing)} in its first row; found: "
                    f"{', '.join(header) or 'nothing'}"
                )
            for number, line in enumerate(lines, start=2):
                if any(line):
                    empty = False
                    cells = [cell.strip() for cell in line] + [""] * (len(header) - len(line))
                    yield number, dict(zip(header, cells, strict=False))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {path} as a table in UTF-8: {error}") from error
    if empty:
        raise UserError(f"{path} has a header but no rows")


def parse_score(text: str, where: str) -> float:
    """A number; NaN for an empty cell or 'nan'.

    Raises:
      UserError: anything else.
    """
    if text.lower() in ("", "nan", "na"):
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.inf
    if math.isinf(value):
        raise UserError(f"{where}: {text!r} is no number; leave the cell empty where it is missing")
    return value


class Scores:
    """{photo: {attribute: score}}, and what was said twice."""

    def __init__(self, path: Path):
        self.path, self.table = path, {}
        self.repeated, self.conflicts = 0, []

    def put(self, name: str, attribute: str, score: float, row: int) -> None:
        own = self.table.setdefault(name, {})
        before = own.setdefault(attribute, score)
        if before is score:
            return
        self.repeated += 1
        if before != score and not (math.isnan(before) and math.isnan(score)):
            self.conflicts.append(
                f"row {row} gives {name} {score:g} for {attribute}, an earlier one {before:g}"
            )

    def notes(self) -> list[str]:
        """What to log of scores given twice; UserError where they differ."""
        if self.conflicts:
            raise UserError(
                f"{self.path}: {len(self.conflicts)} scores differ from an earlier row's of the "
                f"same photo: {'; '.join(self.conflicts[:3])}; keep one row a photo"
            )
        lines = f"{self.path.name} gives {self.repeated} scores twice, with the same value"
        return [lines] if self.repeated else []
