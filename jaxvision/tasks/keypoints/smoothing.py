"""Smooths tracks of points over time, frame by frame, so films and live cameras can be smoothed.

A gap (NaN) is bridged by a straight line for the filter's sake, and stays NaN in the result.
"""

import collections
import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

GAP = (
    64  # frames that are waited for a point to come back; a longer gap is bridged by its last place
)
MIN_LAG, MAX_LAG = 64, 256  # frames that the Kalman smoother looks ahead
NEGLIGIBLE = 1e-8  # share of a correction that the smoother may miss of one over the whole film
ACCELERATION = 100.0  # pixels a square second


def smooth(points: np.ndarray, method: str, fps: float, strength: float) -> np.ndarray:
    """Tracks [T, K, 2] at once; as `smooth_stream`."""
    items = ((None, frame) for frame in points)
    smoothed = [frame for _, frame in smooth_stream(items, method, fps, strength)]
    return np.stack(smoothed) if smoothed else points


def smooth_stream(
    items: Iterable[tuple[Any, np.ndarray]], method: str, fps: float, strength: float
) -> Iterator[tuple[Any, np.ndarray]]:
    """Yields (carried, smoothed) for each (carried, points), in order; each coordinate by itself.

    one_euro waits for nothing but gaps, at most GAP frames; kalman for `lag` frames and half as
    many again. That many items are held.

    Args:
      items: what is to be carried along (a frame, say) and points [..., 2] in pixels.
      method: one_euro, kalman, or '' for none.
      fps: frames a second.
      strength: 1 is made for animals of some 30 pixels filmed 30 times a second; 2 smooths more.
    """
    if not method:
        yield from items
        return
    measured = _bridge_gaps((((carried, points), points) for carried, points in items), GAP)
    filtered = one_euro if method == "one_euro" else kalman
    for (carried, points), values in filtered(measured, fps, strength):
        yield carried, np.where(np.isfinite(points), values, np.nan)


class OneEuroState(NamedTuple):
    """Of the 1 euro filter: the last smoothed points [..., 2], and their speeds."""

    points: np.ndarray
    speed: np.ndarray


def one_euro_step(
    state: OneEuroState | None, points: np.ndarray, fps: float, strength: float
) -> tuple[OneEuroState, np.ndarray]:
    """The 1 euro filter (Casiez et al. 2012): the faster a point, the less it is held back.

    It sees the past alone, so it serves live.

    Args:
      state: of the frame before; None at the first.
      points: [..., 2] in pixels; what is NaN stays where it was.
      fps: frames a second.
      strength: as in `smooth_stream`; the lowest cutoff is 1.5 / strength Hz.

    Returns:
      the state for the next frame, and the smoothed points [..., 2], NaN only where no point has
      been seen yet.
    """
    if state is None:
        return OneEuroState(points, np.zeros_like(points)), points
    lowest, speed_share, speed_cutoff = 1.5 / strength, 0.05 / strength, 1.0

    def weight(cutoff):
        return 1 / (1 + fps / (2 * np.pi * cutoff))

    started, known = np.isfinite(state.points), np.isfinite(points)
    speed = state.speed + weight(speed_cutoff) * ((points - state.points) * fps - state.speed)
    share = weight(lowest + speed_share * np.abs(speed))
    smoothed = np.where(started, state.points + share * (points - state.points), points)
    smoothed = np.where(known, smoothed, state.points)
    return OneEuroState(smoothed, np.where(started & known, speed, state.speed)), smoothed


def one_euro(items: Iterable[tuple[Any, np.ndarray]], fps: float, strength: float):
    """`one_euro_step` over (carried, points)."""
    state = None
    for carried, points in items:
        state, smoothed = one_euro_step(state, points, fps, strength)
        yield carried, smoothed


class _Filtered(NamedTuple):
    """A frame after the Kalman filter's pass forwards; states [2, n], covariances [2, 2]."""

    carried: Any
    state: np.ndarray
    cov: np.ndarray
    predicted: np.ndarray
    predicted_cov: np.ndarray


def kalman(
    items: Iterable[tuple[Any, np.ndarray]], fps: float, strength: float, lag: int = 0
) -> Iterator[tuple[Any, np.ndarray]]:
    """A Kalman filter of constant velocity, then backwards (Rauch, Tung and Striebel 1965).

    It sees past and future, so nothing lags behind; a frame is put out once `lag` frames after it
    are known, in chunks of half the lag.

    Args:
      items: (carried, points [..., 2]).
      fps, strength: as in `smooth_stream`. The measurements are taken to be `strength` pixels off,
        and the acceleration to change by ACCELERATION.
      lag: frames; 0: what `kalman_lag` gives.
    """
    lag = lag or kalman_lag(fps, strength)
    move = np.array([[1, 1 / fps], [0, 1]])
    held = collections.deque()
    for frame in _filter_forwards(items, move, fps, strength):
        held.append(frame)
        if len(held) == lag + max(1, lag // 2):
            yield from _smooth_back(held, move, max(1, lag // 2))
    yield from _smooth_back(held, move, len(held))


def kalman_lag(fps: float, strength: float) -> int:
    """Frames after which a measurement changes the smoothed past by NEGLIGIBLE, within limits.

    The influence falls by the filter's pole each frame (Kalata 1984, the alpha-beta filter of a
    given tracking index): up to strength 1 at 30 frames a second 64 to 79 frames, more for smoother
    or faster films; MAX_LAG bounds it, and with it memory.
    """
    index = ACCELERATION / fps**2 / strength
    pole = (4 + index - math.sqrt(8 * index + index**2)) / 4
    needed = math.log(NEGLIGIBLE) / math.log(pole) if 0 < pole < 1 else MIN_LAG
    return int(min(max(math.ceil(needed), MIN_LAG), MAX_LAG))


def _filter_forwards(items, move: np.ndarray, fps: float, strength: float) -> Iterator[_Filtered]:
    dt = 1 / fps
    noise = ACCELERATION**2 * np.array([[dt**4 / 4, dt**3 / 2], [dt**3 / 2, dt**2]])
    state, cov = None, np.diag([strength**2, 1e4])
    for carried, points in items:
        measured = points.reshape(-1)
        if state is None:
            predicted = np.stack([measured, np.zeros_like(measured)])  # [2, n]: position, velocity
            predicted_cov = cov
        else:
            predicted, predicted_cov = move @ state, move @ cov @ move.T + noise
            # A point that was not seen before begins where it is first seen.
            begins = np.stack([measured, np.zeros_like(measured)])
            predicted = np.where(np.isfinite(predicted), predicted, begins)
        gain = predicted_cov[:, 0] / (predicted_cov[0, 0] + strength**2)
        state = predicted + gain[:, None] * (measured - predicted[0])
        cov = predicted_cov - np.outer(gain, predicted_cov[0])
        yield _Filtered((carried, points.shape), state, cov, predicted, predicted_cov)


def _smooth_back(held: collections.deque, move: np.ndarray, count: int) -> Iterator:
    """Smooths what is held backwards from its end, and puts out the first `count` of it."""
    smoothed, after = [], None
    for frame in reversed(held):
        state = frame.state
        if after is not None:
            back = frame.cov @ move.T @ np.linalg.inv(after.predicted_cov)
            state = state + back @ (smoothed[-1] - after.predicted)
        smoothed.append(state)
        after = frame
    for state in smoothed[::-1][:count]:
        carried, shape = held.popleft().carried
        yield carried, state[0].reshape(shape)


def _bridge_gaps(items: Iterable, window: int) -> Iterator[tuple[Any, np.ndarray]]:
    """(carried, points) with NaN replaced by straight lines from the last to the next known place.

    A frame without a gap passes at once. A gap waits until its point comes back, at most for
    `window` frames: then, and where a track ends, the last place stands in for it; where it has
    not been seen yet, the first place to come; NaN where that is not known either.
    """
    held, last = collections.deque(), None
    for carried, points in items:
        held.append((carried, points))
        while held and (len(held) > window or _bridgeable(held)):
            last = _bridged(held, last)
            yield held.popleft()[0], last
    while held:
        last = _bridged(held, last)
        yield held.popleft()[0], last


def _bridgeable(held: collections.deque) -> bool:
    """Whether every gap of the first frame ends within what is held."""
    unknown = ~np.isfinite(held[0][1])
    if not unknown.any():
        return True
    return bool(np.isfinite(np.stack([points[unknown] for _, points in held])).any(0).all())


def _bridged(held: collections.deque, last: np.ndarray | None) -> np.ndarray:
    """The first frame's points with its gaps bridged; `last`: those of the frame before."""
    first = np.asarray(held[0][1], float)
    unknown = ~np.isfinite(first)
    if not unknown.any():
        return first
    track = np.stack([points for _, points in held])  # [frames, ..., 2]
    ahead = np.argmax(np.isfinite(track), axis=0)  # frames until a coordinate is known; 0: never
    coming = np.take_along_axis(track, ahead[None], axis=0)[0]
    before = coming if last is None else np.where(np.isfinite(last), last, coming)
    line = before + (coming - before) / (ahead + 1)
    return np.where(unknown, np.where(np.isfinite(coming), line, before), first)
