"""`python -m serving`: serve until SIGTERM, then answer what is under way and leave."""

from __future__ import annotations

import logging
import socket
import sys

import uvicorn
from pydantic import ValidationError

from serving.app import create_app
from serving.settings import ServingSettings

BAD_SETTINGS = 78  # EX_CONFIG of BSD sysexits.h
DRAIN_SECONDS = 10


def main() -> None:
    """Listen where the settings say; a bad setting or a taken port is one line and exit code 78."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    try:
        settings = ServingSettings()
        listener = _listen(settings)
    except ValidationError as error:
        first = error.errors()[0]
        _give_up(f"SERVING_{str(first['loc'][0]).upper()}: {first['msg']}")
    except OSError as error:
        _give_up(
            f"serving cannot listen on {settings.host}:{settings.port}: {error.strerror}; "
            "free the port or set SERVING_PORT"
        )
    config = uvicorn.Config(
        create_app(settings), access_log=False, log_level="warning", timeout_graceful_shutdown=DRAIN_SECONDS
    )
    logging.info("serving on http://%s:%s", *listener.getsockname()[:2])
    uvicorn.Server(config).run(sockets=[listener])


def _listen(settings: ServingSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((settings.host, settings.port))
    listener.listen(128)
    return listener


def _give_up(line: str) -> None:
    logging.error("%s", line)
    raise SystemExit(BAD_SETTINGS)


if __name__ == "__main__":
    main()
