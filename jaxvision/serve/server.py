"""Starts the server: a place to listen first, then what needs the extra [serve]."""

import socket

from ml_collections import ConfigDict

from jaxvision.errors import UserError
from jaxvision.serve.options import Options, check_options, split_folders


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
