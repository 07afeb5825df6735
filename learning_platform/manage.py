"""Django's commands: python learning_platform/manage.py migrate, createsuperuser, ..."""

import os
import sys
from pathlib import Path


def main() -> None:
    # Run as a file, Python looks for modules in this folder; the package is in the one above.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "learning_platform.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
