"""Smooths tracks of points over time."""

import numpy as np

from jaxvision.errors import UserError

METHODS = ("", "one_euro", "kalman")


def check_method(method: str) -> None:
    """Raises UserError unless `method` is one of METHODS."""
    if method not in METHODS:
        raise UserError(f"predict.smoothing={method!r}: use one_euro, kalman, or '' for none")


def smooth(points: np.ndarray, method: str, fps: float, strength: float) -> np.ndarray:
    """Tracks [T, K, 2], each coordinate by itself; NaN stays out of the others.

    Args:
      points: pixels.
      method: of METHODS.
      fps: frames a second.
      strength: 1 is made for animals of some 30 pixels filmed 30 times a second; 2 smooths more.
    """
    check_method(method)
    if not method or len(points) < 2:
        return points
    tracks = points.reshape(len(points), -1)
    filled = _fill(tracks)
    smoothed = {"one_euro": one_euro, "kalman": kalman}[method](filled, fps, strength)
    return np.where(np.isfinite(tracks), smoothed, np.nan).reshape(points.shape)


def one_euro(tracks: np.ndarray, fps: float, strength: float) -> np.ndarray:
    """The 1 euro filter (Casiez et al. 2012): the faster a point, the less it is held back.

    It sees the past alone, so it also serves live.

    Args:
      tracks: [T, n].
      fps, strength: as in `smooth`; the lowest cutoff is 1.5 / strength Hz.
    """
    lowest, speed_share, speed_cutoff = 1.5 / strength, 0.05 / strength, 1.0

    def weight(cutoff):
        return 1 / (1 + fps / (2 * np.pi * cutoff))

    smoothed, speed = [tracks[0]], np.zeros_like(tracks[0])
    for now in tracks[1:]:
        speed = speed + weight(speed_cutoff) * ((now - smoothed[-1]) * fps - speed)
        share = weight(lowest + speed_share * np.abs(speed))
        smoothed.append(smoothed[-1] + share * (now - smoothed[-1]))
    return np.stack(smoothed)


def kalman(tracks: np.ndarray, fps: float, strength: float) -> np.ndarray:
    """A Kalman filter of constant velocity, then backwards (Rauch, Tung and Striebel 1965).

    It sees past and future, so nothing lags.

    Args:
      tracks: [T, n].
      fps, strength: as in `smooth`. The measurements are taken to be `strength` pixels off, and
        the acceleration to change by 100 pixels a square second.
    """
    dt = 1 / fps
    move = np.array([[1, dt], [0, 1]])
    noise = 100.0**2 * np.array([[dt**4 / 4, dt**3 / 2], [dt**3 / 2, dt**2]])
    state = np.stack([tracks[0], np.zeros_like(tracks[0])])  # [2, n]: position and velocity
    cov, states, covs, ahead = np.diag([strength**2, 1e4]), [], [], []
    for measured in tracks:
        predicted, predicted_cov = (move @ state, move @ cov @ move.T + noise) if states else (
            state, cov)  # fmt: skip
        gain = predicted_cov[:, 0] / (predicted_cov[0, 0] + strength**2)
        state = predicted + gain[:, None] * (measured - predicted[0])
        cov = predicted_cov - np.outer(gain, predicted_cov[0])
        states.append(state)
        covs.append(cov)
        ahead.append((predicted, predicted_cov))
    for t in range(len(tracks) - 2, -1, -1):
        back = covs[t] @ move.T @ np.linalg.inv(ahead[t + 1][1])
        states[t] = states[t] + back @ (states[t + 1] - ahead[t + 1][0])
    return np.stack([state[0] for state in states])


def _fill(tracks: np.ndarray) -> np.ndarray:
    """Gaps bridged by straight lines; a track that is never known is 0."""
    filled, times = np.zeros_like(tracks), np.arange(len(tracks))
    for i, track in enumerate(tracks.T):
        known = np.isfinite(track)
        if known.any():
            filled[:, i] = np.interp(times, times[known], track[known])
    return filled
