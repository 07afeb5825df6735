"""Starts the server: folders, addresses, signals."""

import contextlib
import ipaddress
import re
import socket
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from jaxvision.errors import UserError

TOKEN = re.compile(r"[A-Za-z0-9._~-]{16,200}")
FINISH_SECONDS = 5.0  # beyond the deadline, for what was accepted when the server is told to stop


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


def serve(config: ConfigDict, folders: str, options: Options) -> None:
    """Serves the models of some folders until SIGTERM or Ctrl-C.

    Args:
      config: of the first folder, with what the command line changed; the others have their own.
      folders: workdirs, separated by commas.
      options: how.

    Raises:
      UserError: nothing to serve in a folder, options that cannot be, an address that is taken, a
        package of the extra [serve] is missing.
    """
    token = check_options(options)
    listening = _listen(options.host, options.port)
    try:
        import httptools  # noqa: F401
        import orjson  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
        import websockets  # noqa: F401
    except ImportError as error:
        raise UserError(f'serving needs {error.name}: pip install -e ".[serve]"') from error
    from jaxvision.serve.run import run_server

    with listening:
        run_server(config, split_folders(folders), options, token, listening)


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


def _listen(host: str, port: int) -> socket.socket:
    """A bound socket, so that a taken port is told before anything is loaded."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit it; without it each answer waits 40 ms for an acknowledgement.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listening.bind(address)
    except OSError as error:
        raise UserError(
            f"cannot listen at {host}:{port} ({error.strerror}): choose another --port"
        ) from error
    return listening


def split_folders(folders: str) -> list[str]:
    """'a,b' -> ['a', 'b'].

    Raises:
      UserError: an empty name.
    """
    names = [name.strip() for name in folders.split(",")]
    if not all(names):
        raise UserError(f"--workdir={folders!r}: give folders separated by commas")
    return names
