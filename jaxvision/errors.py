"""What a user's mistake raises."""


class UserError(ValueError):
    """Something the user can put right: a wrong path, a bad file, a config that cannot work.

    The message is one line that says what was wrong, with the value, and what to do. `main.py`
    prints it without a traceback and exits with code 2.
    """


class FileError(UserError):
    """One of the user's files cannot be read; others may be, so work on several goes on."""
