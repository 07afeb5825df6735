"""Work in the background: its order, its errors, how far it goes ahead."""

import threading
import time

import pytest

from jaxvision.input_pipeline import parallel


def test_in_background_keeps_order_and_gives_what_came_before_an_error():
    assert list(parallel.in_background(iter(range(50)), 3)) == list(range(50))
    assert list(parallel.in_background([], 3)) == []
    given = []
    with pytest.raises(ZeroDivisionError):
        given.extend(parallel.in_background((1 // (3 - i) for i in range(9)), 2))
    given = parallel.in_background((1 // (3 - i) for i in range(9)), 2)
    assert [next(given) for _ in range(3)] == [0, 0, 1]


def test_in_background_works_ahead_so_far_and_closes_what_it_reads():
    made, closed = [], threading.Event()

    def items():
        try:
            for i in range(99):
                made.append(i)
                yield i
        finally:
            closed.set()

    given = parallel.in_background(items(), 4)
    assert made == [] and next(given) == 0
    deadline = time.monotonic() + 10
    while len(made) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert made == [0, 1, 2, 3, 4]  # 4 ahead of the one that was asked for
    given.close()
    assert closed.is_set() and len(made) == 5
