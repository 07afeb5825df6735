"""Finds augmented copies of one picture, so that no split separates them.

Copies are turned by quarters, mirrored, shifted by some pixels and noisy. Two pictures are copies
where one of the eight symmetries and a shift lay them over each other and nothing but noise is
left: what is left is averaged over patches, which noise hardly survives and a moved paw does.
"""

import collections

import numpy as np

from jaxvision.input_pipeline.parallel import cpu_threads, threaded

MARGIN = 0.2  # of the picture's side: two copies are shifted by no more against each other
RESIDUAL = 2.0  # grey levels: root mean square of what is left, averaged over patches
PATCH = 5  # pixels, at the working size
SIDE = 50  # pixels, the working size at most
NEIGHBOURS = 12  # candidates of each picture


def group_copies(pictures: np.ndarray, hints: np.ndarray) -> np.ndarray:
    """The group of each picture: copies, and copies of copies, share one.

    Args:
      pictures: gray uint8 [N, S, S], reduced to SIDE or less.
      hints: float [N, M], which copies nearly share (distances between their points); only pictures
        that are alike in these and in their spectra are compared.

    Returns:
      int [N]: the index of the group's first picture.
    """
    from scipy.spatial import cKDTree  # which built-in pictures need not wait for

    count = len(pictures)
    parents = np.arange(count)
    if count < 2:
        return parents
    marks = np.stack(list(threaded(_marks, pictures, "comparing images", cpu_threads())))
    marks = np.concatenate([marks, hints], 1)
    marks = (marks - marks.mean(0)) / (marks.std(0) + 1e-6)
    neighbours = min(NEIGHBOURS + 1, count)
    nearest = cKDTree(marks).query(marks, neighbours, workers=cpu_threads())[1]

    def root(i):
        while parents[i] != i:
            parents[i] = parents[parents[i]]
            i = parents[i]
        return i

    def join(pair):
        i, j = pair
        if root(i) == root(j):
            return False
        if not are_copies(pictures[i], pictures[j]):
            return False
        a, b = root(i), root(j)
        parents[max(a, b)] = min(a, b)
        return True

    pairs = [(i, int(j)) for i in range(count) for j in nearest[i] if i < j]
    joined = list(threaded(join, pairs, "matching images", 1))
    # Copies mostly lie at one distance in the file: one after the other, or round by round.
    steps = collections.Counter(j - i for (i, j), same in zip(pairs, joined, strict=True) if same)
    for step, times in steps.most_common(2):
        if times > count / 100:
            pairs = [(i, i + step) for i in range(count - step)]
            collections.deque(threaded(join, pairs, "matching images", 1), maxlen=0)
    return np.array([root(i) for i in range(count)])


def _marks(picture: np.ndarray) -> np.ndarray:
    """Numbers that turns and flips leave as they are, and noise and shifts nearly."""
    gray = picture.astype(np.float32)
    size = len(gray) // 2 * 2
    small = gray[:size, :size].reshape(size // 2, 2, size // 2, 2).mean((1, 3))
    # Fading to the mean at the edges: a shift brings something else in there.
    fade = np.hanning(len(small) + 2)[1:-1]
    spectrum = np.abs(np.fft.fft2((small - np.median(small)) * np.outer(fade, fade))) / small.size
    low = range(5)
    # |F(u, v)| of a real picture is the same at (-u, -v), so these four are the eight symmetries.
    folded = [
        spectrum[u, v] + spectrum[v, u] + spectrum[u, -v] + spectrum[v, -u]
        for u in low
        for v in low
        if u > 0 and v <= u
    ]
    return np.array([*folded, *np.percentile(small, np.arange(5, 100, 10))], np.float32)


def are_copies(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether one picture is the other, turned, mirrored, shifted or noisy; gray [S, S]."""
    return residual(a, b) < RESIDUAL


def residual(a: np.ndarray, b: np.ndarray) -> float:
    """Grey levels by which the middle of `a` differs from `b` laid over it; noise counts little."""
    margin = round(MARGIN * len(a))
    middle = a[margin : len(a) - margin, margin : len(a) - margin].astype(np.float32)
    turned = np.stack(_symmetries(b.astype(np.float32)))  # [8, S, S]
    # Sum of squared differences at every shift: |m|^2 - 2 m.b + |b|^2, by FFT and running sums.
    shape = a.shape
    spectrum = np.fft.rfft2(turned) * np.fft.rfft2(middle, shape).conj()
    shifts = 2 * margin + 1
    match = np.fft.irfft2(spectrum, shape)[:, :shifts, :shifts]
    squares = box_sums(turned**2, len(middle))[:, :shifts, :shifts]
    differences = squares - 2 * match
    which, y, x = np.unravel_index(np.argmin(differences), differences.shape)
    left = middle - turned[which, y : y + len(middle), x : x + len(middle)]
    left -= left.mean()
    # Neighbouring pixels of white noise differ by sqrt(2) of its deviation; scenes are smooth.
    noise = np.median(np.abs(np.diff(left, axis=1))) / 0.6745 / np.sqrt(2)
    patches = box_sums(left[None], PATCH)[0] / PATCH**2
    return float(np.sqrt(max((patches**2).mean() - (noise / PATCH) ** 2, 0.0)))


def box_sums(pictures: np.ndarray, n: int) -> np.ndarray:
    """Sums over all n x n windows: [B, H, W] -> [B, H - n + 1, W - n + 1]."""
    sums = np.pad(pictures.cumsum(1, np.float64).cumsum(2), ((0, 0), (1, 0), (1, 0)))
    return sums[:, n:, n:] - sums[:, :-n, n:] - sums[:, n:, :-n] + sums[:, :-n, :-n]


def _symmetries(picture: np.ndarray) -> list[np.ndarray]:
    return [np.rot90(p, k) for p in (picture, picture.T) for k in range(4)]
