"""What `--mode=serve` is told, and whether that can be."""

import contextlib
import ipaddress
import re
from pathlib import Path
from typing import NamedTuple

from jaxvision.errors import UserError

TOKEN = re.compile(r"[A-Za-z0-9._~-]{16,200}")


class Options(NamedTuple):
    """How it is served; the flags of `--mode=serve`.

    Attributes:
      host, port: where to listen; port 0 takes a free one.
      token_file: holds the token that requests must have; '': they need none.
      reload: seconds between looks for a better checkpoint; 0: never.
      queue: requests that may wait or be in work.
      deadline: seconds until a request is answered or refused.
      engine: as of `engine.open_engine`.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token_file: str = ""
    reload: float = 0.0
    queue: int = 128
    deadline: float = 10.0
    engine: str = "auto"


def check_options(options: Options) -> str:
    """Returns the token, '' where none is asked for.

    Raises:
      UserError: options that cannot be; a public address without a token.
    """
    if not 0 <= options.port < 2**16:
        raise UserError(f"--port={options.port} is no port: use 1 to 65535, or 0 for a free one")
    if options.queue < 1 or not options.deadline > 0 or options.reload < 0:
        raise UserError(
            f"--queue={options.queue} and --deadline={options.deadline:g} must be positive, "
            f"--reload={options.reload:g} at least 0"
        )
    if not options.token_file:
        if not _is_local(options.host):
            raise UserError(
                f"--host={options.host} lets others in: give --token_file, a file with a token of "
                "16 or more letters and digits that requests must have, or leave --host out"
            )
        return ""
    try:
        token = Path(options.token_file).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--token_file={options.token_file!r} cannot be read: {error}") from error
    if not TOKEN.fullmatch(token):
        raise UserError(
            f"--token_file={options.token_file!r} must hold one token of 16 to 200 letters, digits "
            "and -._~ (for one: openssl rand -hex 24)"
        )
    return token


def _is_local(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def split_folders(folders: str) -> list[str]:
    """'a,b' -> ['a', 'b'].

    Raises:
      UserError: an empty name.
    """
    names = [name.strip() for name in folders.split(",")]
    if not all(names):
        raise UserError(f"--workdir={folders!r}: give folders separated by commas")
    return names
