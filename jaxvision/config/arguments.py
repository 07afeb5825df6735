"""A config on the command line: `--config=FILE[:VARIANT]` and `--config.FIELD=VALUE`."""

import contextlib
from collections.abc import Iterator

from absl import flags

from jaxvision.errors import UserError


@contextlib.contextmanager
def as_user_errors() -> Iterator[None]:
    """What absl, ml_collections and config files raise over arguments becomes one line.

    Raises:
      UserError: in place of any other exception of the block.
    """
    try:
        yield
    except flags.Error as error:
        # Of a config file that raises, the message is a traceback, and its last line tells.
        told = str(error).strip().splitlines()[-1]
        if "get_config() takes 0 positional" in told:
            told = "--config: this file has no variants; leave out the colon and what follows it"
        raise UserError(told.removeprefix("jaxvision.errors.UserError: ")) from error
    except UserError:
        raise
    except Exception as error:  # a config file is a program, and may raise anything
        reason = error.args[0] if error.args else error  # the text, or the error that has it
        reason = reason.args[0] if isinstance(reason, KeyError) else reason
        reason = " ".join(str(reason).split())
        if reason.startswith("'"):  # of ml_collections: the name, and perhaps a better one
            reason = f"there is no field {reason}".replace(" Did", ": did")
        raise UserError(f"config: {reason}") from error
