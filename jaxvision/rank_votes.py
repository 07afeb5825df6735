"""A csv of scores from a csv of votes: python -m jaxvision.rank_votes votes.csv scores.csv"""

import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxvision import cache
from jaxvision.errors import UserError
from jaxvision.input_pipeline.readers.perception import votes as votes_lib
from jaxvision.input_pipeline.readers.perception.ratings import rank_votes


def write_scores(source: Path, target: Path) -> int:
    """Ranks a file of votes into a csv `file,<attribute>,...`; returns how many photos it has.

    Raises:
      UserError: the votes cannot be read, the target is the file of votes or cannot be written.
    """
    if source.exists() and target.exists() and target.samefile(source):
        raise UserError(
            f"{target} is the file of votes, which the scores would overwrite: give another name "
            "for the scores"
        )
    votes = votes_lib.read_votes(source)
    scores, _ = rank_votes(votes.table, len(votes.names), len(votes.attributes))
    text = io.StringIO(newline="")
    lines = csv.writer(text)
    lines.writerow(["file", *votes.attributes])
    for name, row in zip(votes.names, scores, strict=True):
        lines.writerow([name, *("" if np.isnan(score) else f"{score:.4f}" for score in row)])
    try:
        with cache.atomic_file(target) as file:
            file.write(text.getvalue().encode())
    except OSError as error:
        raise UserError(f"cannot write {target}: {(error.strerror or '').lower()}") from error
    for note in votes.notes:
        print(f"note: {note}")
    return len(votes.names)


def main(argv: Sequence[str]) -> int:
    """Returns the exit code: 0, or 2 for a user's mistake."""
    try:
        if len(argv) != 3:
            raise UserError("give two files: python -m jaxvision.rank_votes votes.csv scores.csv")
        count = write_scores(Path(argv[1]), Path(argv[2]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"scores of {count} photos are in {argv[2]}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
