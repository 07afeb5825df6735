"""gunicorn with the platform in it."""

import os

from gunicorn.app.base import BaseApplication

THREADS = 24  # most of them wait: for the disk, or for the other half of a request
CONNECTIONS = 2000  # kept open, so that a reading a second needs no new one


class Server(BaseApplication):
    def __init__(self, host: str, port: int, workers: int):
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.wanted = {
            "bind": address,
            "workers": workers,
            "worker_class": "gthread",
            "threads": THREADS,
            "worker_connections": CONNECTIONS,
            "backlog": 2048,
            "keepalive": 75,
            "timeout": 60,
            "graceful_timeout": 20,
            "control_socket_disable": True,
            "loglevel": "warning",
        }
        super().__init__()

    def load_config(self) -> None:
        for name, value in self.wanted.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self):
        from learning_platform.wsgi import application

        return application


def default_workers() -> int:
    return max(1, min(8, os.cpu_count() or 1))
