"""Smoothing frame by frame gives what smoothing of a whole track gives, and bridges gaps."""

import numpy as np
import pytest

from jaxvision.tasks.keypoints import smoothing


def walk(count, seed=0):
    """[T, 2, 2] pixels: two points that wander, measured with noise."""
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.normal(0, 2, (count, 2, 2)), 0) + rng.normal(0, 1, (count, 2, 2))


def kalman_of_all(tracks, fps, strength):
    """The filter and the smoother over all frames at once, as Rauch, Tung and Striebel write it."""
    dt = 1 / fps
    move = np.array([[1, dt], [0, 1]])
    noise = 100.0**2 * np.array([[dt**4 / 4, dt**3 / 2], [dt**3 / 2, dt**2]])
    state = np.stack([tracks[0], np.zeros_like(tracks[0])])
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


def one_euro_of_all(tracks, fps, strength):
    """The 1 euro filter as it was before it went frame by frame."""
    lowest, speed_share, speed_cutoff = 1.5 / strength, 0.05 / strength, 1.0

    def weight(cutoff):
        return 1 / (1 + fps / (2 * np.pi * cutoff))

    smoothed, speed = [tracks[0]], np.zeros_like(tracks[0])
    for now in tracks[1:]:
        speed = speed + weight(speed_cutoff) * ((now - smoothed[-1]) * fps - speed)
        share = weight(lowest + speed_share * np.abs(speed))
        smoothed.append(smoothed[-1] + share * (now - smoothed[-1]))
    return np.stack(smoothed)


@pytest.mark.parametrize("fps, strength", [(30, 1.0), (30, 0.3), (25, 2.0), (60, 1.0)])
def test_the_streamed_smoother_is_the_smoother_of_the_whole_track(fps, strength):
    tracks = walk(1500)
    whole = kalman_of_all(tracks.reshape(1500, 4), fps, strength).reshape(tracks.shape)
    np.testing.assert_allclose(
        smoothing.smooth(tracks, "kalman", fps, strength), whole, rtol=0, atol=1e-6
    )


def test_one_euro_steps_give_the_same_numbers_as_ever():
    tracks = walk(200)
    expected = one_euro_of_all(tracks.reshape(200, 4), 30.0, 1.5).reshape(tracks.shape)
    np.testing.assert_array_equal(smoothing.smooth(tracks, "one_euro", 30.0, 1.5), expected)
    state, live = None, []
    for points in tracks:
        state, smoothed = smoothing.one_euro_step(state, points, 30.0, 1.5)
        live.append(smoothed)
    np.testing.assert_array_equal(live, expected)


def test_live_a_point_that_is_lost_stays_where_it_was():
    state, tracks = None, np.full((6, 1, 2), [10.0, 20.0])
    tracks[0], tracks[3] = np.nan, np.nan
    live = []
    for points in tracks:
        state, smoothed = smoothing.one_euro_step(state, points, 30.0, 1.0)
        live.append(smoothed)
    assert np.isnan(live[0]).all()
    np.testing.assert_allclose(live[1:], np.full((5, 1, 2), [10.0, 20.0]))


@pytest.mark.parametrize("method", ["one_euro", "kalman"])
def test_gaps_are_bridged_by_straight_lines_and_stay_gaps(method):
    tracks = walk(400, seed=1)
    tracks[:5, 0] = np.nan  # not seen at first
    tracks[100:130, 1] = np.nan
    tracks[120:125, 0, 0] = np.nan
    tracks[390:, 0] = np.nan
    filled, times = np.zeros_like(tracks), np.arange(400)
    for i in np.ndindex(2, 2):
        known = np.isfinite(tracks[(slice(None), *i)])
        filled[(slice(None), *i)] = np.interp(times, times[known], tracks[(known, *i)])
    of_all = kalman_of_all if method == "kalman" else one_euro_of_all
    expected = of_all(filled.reshape(400, 4), 30.0, 1.0).reshape(tracks.shape)
    smoothed = smoothing.smooth(tracks, method, 30.0, 1.0)
    np.testing.assert_array_equal(np.isnan(smoothed), np.isnan(tracks))
    known = np.isfinite(tracks)
    np.testing.assert_allclose(smoothed[known], expected[known], rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", ["one_euro", "kalman"])
def test_a_point_lost_for_long_holds_up_no_more_than_its_share_of_frames(method):
    tracks = np.full((900, 2, 2), 7.0)
    tracks[100:700, 1] = np.nan
    tracks[:, 0] += np.arange(900)[:, None]
    taken, held = [0], []

    def items():
        for i, points in enumerate(tracks):
            taken[0] = i
            yield i, points

    for i, points in smoothing.smooth_stream(items(), method, 30.0, 1.0):
        held.append(taken[0] - i)
        assert np.isfinite(points[0]).all() and np.isnan(points[1]).all() == (100 <= i < 700)
        if i >= 700:
            np.testing.assert_allclose(points[1], 7, atol=1e-6)
    lag = smoothing.kalman_lag(30.0, 1.0)
    assert max(held) <= smoothing.GAP + (1.5 * lag if method == "kalman" else 0)
    assert len(held) == 900


@pytest.mark.parametrize("method", ["one_euro", "kalman"])
def test_smoothing_takes_noise_away_and_follows_motion(method):
    rng, times = np.random.default_rng(0), np.arange(150) / 30
    path = np.stack([40 * times, 20 * np.sin(times)], 1)[:, None]  # [T, 1, 2] pixels
    noisy = path + rng.normal(0, 1, path.shape)
    noisy[40] = np.nan
    smooth = smoothing.smooth(noisy, method, 30.0, 1.0)
    assert np.isnan(smooth[40]).all() and np.isfinite(smooth[41]).all()
    known = np.isfinite(noisy[:, 0, 0])
    jitter = [np.nanstd(np.diff(track[known], 2, axis=0)) for track in (noisy, smooth)]
    assert jitter[1] < 0.6 * jitter[0]
    error = np.sqrt(np.nanmean((smooth - path)[10:] ** 2))
    assert error < (1.6 if method == "one_euro" else 0.6)  # it sees the past alone, so it lags
    np.testing.assert_array_equal(smoothing.smooth(noisy, "", 30.0, 1.0), noisy)
