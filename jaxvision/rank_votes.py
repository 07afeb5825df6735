"""Scores from votes alone: a rating of each photo by the votes it won, lost and drew.

python -m jaxvision.rank_votes votes.csv scores.csv

Ratings are openskill's Thurstone-Mosteller model, the one behind TrueSkill (Weng and Lin 2011, JMLR
12): they start at 25 with a deviation of 25/3, as those published with Place Pulse do.
"""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxvision.errors import UserError
from jaxvision.input_pipeline import votes as votes_lib


def rank_votes(table: np.ndarray, photos: int, attributes: int) -> tuple[np.ndarray, np.ndarray]:
    """Rates photos by votes, in the votes' order.

    Args:
      table: int32 [V, 4]: left, right, attribute, choice (0 left, 1 right, 2 equal).
      photos, attributes: how many there are.

    Returns:
      scores and their standard deviations, float32 [photos, attributes]; NaN without a vote.

    Raises:
      UserError: openskill is not installed.
    """
    try:
        from openskill.models import ThurstoneMostellerFull
    except ImportError as error:
        raise UserError(
            'scores from votes need openskill: pip install -e ".[votes]", or give scores'
        ) from error
    model = ThurstoneMostellerFull()
    ratings = {}
    ranks = ([0, 1], [1, 0], [0, 0])  # the lower rank wins
    for left, right, attribute, choice in table.tolist():
        ends = ((left, attribute), (right, attribute))
        teams = [[ratings.get(end) or model.rating()] for end in ends]
        for end, team in zip(ends, model.rate(teams, ranks=ranks[choice]), strict=True):
            ratings[end] = team[0]
    scores, deviations = (np.full((photos, attributes), np.nan, np.float32) for _ in range(2))
    for end, rating in ratings.items():
        scores[end], deviations[end] = rating.mu, rating.sigma
    return scores, deviations


def write_scores(source: Path, target: Path) -> int:
    """Ranks a file of votes into a csv `file,<attribute>,...`; returns how many photos it has."""
    votes = votes_lib.read_votes(source)
    scores, _ = rank_votes(votes.table, len(votes.names), len(votes.attributes))
    with open(target, "w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(["file", *votes.attributes])
        for name, row in zip(votes.names, scores, strict=True):
            lines.writerow([name, *("" if np.isnan(score) else f"{score:.4f}" for score in row)])
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
