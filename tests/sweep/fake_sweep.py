"""The sweep's command around tests/sweep/fake_main.py, looking around often.

$FAKE_HOST is the host that it takes itself to be on: one that shares a folder, but no locks of
runners, with the others.
"""

import os
import sys
from pathlib import Path

from jaxvision.sweep import __main__ as command
from jaxvision.sweep import loop, processes, run, runners, study

if __name__ == "__main__":
    processes.MAIN = Path(__file__).with_name("fake_main.py")
    run.check_metric = lambda arguments: None
    loop.POLL, loop.LOOK = 0.02, 0.1
    if host := os.environ.get("FAKE_HOST"):
        runners._boot = lambda: host
        runners.PULSE, runners.SILENCE, study.SETTLING = 0.2, 5.0, 0.5
    sys.exit(command.main(sys.argv[1:]))
