"""Scores from votes alone: a rating of each photo by the votes it won, lost and drew.

Ratings are openskill's Thurstone-Mosteller model, the one behind TrueSkill (Weng and Lin 2011, JMLR
12): they start at 25 with a deviation of 25/3, as those published with Place Pulse do.
"""

import numpy as np

from jaxvision.errors import UserError


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
