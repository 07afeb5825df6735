"""The sweep's command around tests/sweep/fake_main.py, looking around often."""

import sys
from pathlib import Path

from jaxvision.sweep import __main__ as command
from jaxvision.sweep import loop, processes, run

if __name__ == "__main__":
    processes.MAIN = Path(__file__).with_name("fake_main.py")
    run.check_metric = lambda arguments: None
    loop.POLL, loop.LOOK = 0.02, 0.1
    sys.exit(command.main(sys.argv[1:]))
