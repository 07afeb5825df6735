"""Signals: what comes twice at once is one, what comes again later ends a process at once."""

import os
import signal
import subprocess
import sys

import pytest

from jaxvision import failures

# Is signalled twice at once, says what it received, and sleeps on, whatever comes.
PROGRAM = """
import os, sys, time
from jaxvision import failures
failures.AGAIN = float(sys.argv[1])
with failures.remembered_signals() as received:
    for _ in range(2):
        os.kill(os.getpid(), int(sys.argv[2]))
        [None for _ in range(1000)]
    print(received, flush=True)
    time.sleep(30)
"""

# Ends while XLA compiles in a thread that nobody waits for.
COMPILING = """
import time
import jax, jax.numpy as jnp
from jaxvision import failures
from jaxvision.input_pipeline.parallel import in_thread

def long(x):
    for _ in range(300):
        x = jnp.sort(x @ x)
    return x

lowered = jax.jit(long).lower(jnp.ones((64, 64)))
found = in_thread(lowered.compile)
time.sleep(0.5)
assert not found.done()
failures.end(7)
"""


def test_the_end_keeps_its_code_while_a_thread_compiles():
    done = subprocess.run([sys.executable, "-c", COMPILING], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (7, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_same_signal_twice_at_once_is_one(number):
    before = signal.getsignal(number)
    with failures.remembered_signals() as received:
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
        assert received == [number]
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_one_ends_it_at_once(number):
    program = [sys.executable, "-c", PROGRAM, "0.1", str(int(number))]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == f"[{int(number)}]\n"
    while process.poll() is None:  # until that tenth of a second is over
        process.send_signal(number)
    assert process.returncode == -number
