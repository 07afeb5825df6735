"""The training stream, and evaluation that sees every row once."""

import contextlib

import numpy as np
import pytest

from jaxvision.input_pipeline import loader, resident
from jaxvision.sharding import make_mesh
from tests.tiny import tiny_config


def feed_of(resident, split="train", **overrides):
    config = tiny_config(data__resident=resident, **overrides)
    return loader.open_feed(loader.load_dataset(config), split, config, make_mesh({}))


def test_an_epoch_holds_every_row_once_whatever_the_batch_size():
    rows = loader.train_rows(0, 30, 4, seed=0, size=10).reshape(-1)  # 12 epochs
    for epoch in rows.reshape(12, 10):
        assert sorted(epoch) == list(range(10))
    assert not np.array_equal(rows[:10], rows[10:20])


def test_batches_depend_on_seed_and_step_alone():
    whole = loader.train_rows(0, 20, 4, seed=3, size=10)
    np.testing.assert_array_equal(loader.train_rows(13, 4, 4, seed=3, size=10), whole[13:17])
    assert not np.array_equal(loader.train_rows(0, 20, 4, seed=4, size=10), whole)
    one_by_one = [loader.train_row(p, seed=3, size=10) for p in range(80)]
    np.testing.assert_array_equal(one_by_one, whole.reshape(-1))


def test_a_batch_larger_than_the_split_repeats_it():
    assert loader.train_rows(0, 1, 25, seed=0, size=10).shape == (1, 25)


def test_both_paths_give_the_same_batches():
    feeds = feed_of("true"), feed_of("false")
    batches = [list(loader.train_batches(feed, 0, 4, 2, 7)) for feed in feeds]
    assert len(batches[0]) == len(batches[1]) == 5
    for a, b in zip(*batches, strict=True):
        for name in ("image", "mask"):
            np.testing.assert_array_equal(a[name], b[name])


@pytest.mark.parametrize("resident", ["true", "false"])
def test_evaluation_sees_every_row_once(resident):
    feed = feed_of(resident, "test")
    batches = list(loader.eval_batches(feed, 2))
    assert [list(np.asarray(b["valid"])) for b in batches] == [[1, 1], [1, 1], [1, 0]]
    images = np.concatenate([b["image"] for b in batches])[:5]
    expected = [feed.split.read(i)["image"] for i in range(5)]
    np.testing.assert_array_equal(images, expected)


@pytest.mark.parametrize("resident", ["true", "false"])
@pytest.mark.parametrize("workers", [0, 2])
def test_every_round_of_evaluation_sees_every_row_once(resident, workers):
    from absl import flags

    flags.FLAGS.mark_as_parsed()  # grain's workers ask for it
    feed = feed_of(resident, "test", data__workers=workers)
    expected = [feed.split.read(i)["image"] for i in range(5)]
    with contextlib.closing(loader.EvalRounds(feed, 2)) as batches:
        for _ in range(3):
            one_round = list(batches)
            assert [list(np.asarray(b["valid"])) for b in one_round] == [[1, 1], [1, 1], [1, 0]]
            images = np.concatenate([b["image"] for b in one_round])[:5]
            np.testing.assert_array_equal(images, expected)


def test_decoded_data_is_reused(cache_folder, monkeypatch):
    first = np.asarray(feed_of("true").arrays["image"])
    monkeypatch.setattr(resident, "threaded", None)  # decoding again would fail
    np.testing.assert_array_equal(feed_of("true").arrays["image"], first)
    assert list((cache_folder / "decoded").iterdir())


def test_auto_streams_what_is_too_large():
    assert feed_of("auto").arrays is not None
    assert feed_of("auto", data__resident_gib=1e-6).arrays is None
