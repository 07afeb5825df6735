"""Pictures that share batches: order, padding, bounded waiting."""

import numpy as np
import pytest

from jaxvision.batching import WAITING, apply_in_batches, bucket, pad_rows


def doubled(sizes):
    """A model that doubles its inputs and notes the shapes that it was called with."""

    def predict(inputs):
        sizes.append(inputs.shape)
        return {"double": 2 * inputs.astype(np.int64)}

    return predict


def pictures(counts, side=2):
    rng = np.random.default_rng(0)
    return [(i, rng.integers(0, 256, (n, side, side, 3), np.uint8)) for i, n in enumerate(counts)]


@pytest.mark.parametrize("counts", [[1] * 9, [3, 0, 5, 1], [0, 0], [], [17]])
@pytest.mark.parametrize("devices", [1, 4])
def test_every_picture_gets_its_own_outputs_in_order(counts, devices):
    given, sizes = pictures(counts), []
    answers = list(apply_in_batches(doubled(sizes), given, 4, devices))
    assert [key for key, _ in answers] == list(range(len(counts)))
    for (_, inputs), (_, outputs) in zip(given, answers, strict=True):
        if len(inputs):
            np.testing.assert_array_equal(outputs["double"], 2 * inputs.astype(np.int64))
        else:
            assert outputs == {}
    assert all(shape[0] in (devices, 4) or shape[0] in (1, 2, 4) for shape in sizes)
    assert all(shape[0] % devices == 0 for shape in sizes)


def test_pictures_of_two_sizes_fill_batches_of_their_own():
    small, large = pictures([1] * 8, side=2), pictures([1] * 8, side=3)
    mixed, sizes = [item for pair in zip(small, large, strict=True) for item in pair], []
    assert len(list(apply_in_batches(doubled(sizes), mixed, 8))) == 16
    assert sorted(sizes) == [(8, 2, 2, 3), (8, 3, 3, 3)]


def test_few_pictures_wait_for_a_batch_to_fill():
    """One picture with a face, then a long film without any."""
    read = 0

    def film():
        nonlocal read
        for i in range(1000):
            read += 1
            yield i, np.zeros((1 if i == 0 else 0, 2, 2, 3), np.uint8)

    answers = apply_in_batches(doubled([]), film(), 8)
    assert next(answers)[0] == 0 and read <= WAITING * 8 + 1


def test_padding_and_buckets():
    assert [bucket(n, 8) for n in (1, 2, 3, 8, 20)] == [1, 2, 4, 8, 8]
    assert [bucket(n, 8, 2) for n in (1, 3, 5)] == [2, 4, 8]
    rows = np.ones((3, 2), np.uint8)
    assert pad_rows(rows, 3) is rows and pad_rows(rows, 4)[3].sum() == 0
