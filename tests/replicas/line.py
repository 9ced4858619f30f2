"""A line to a server that can be cut: what is sent then goes nowhere, and nobody is told."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Line:
    """Passes bytes on to a port of this machine, until it is cut, and again once it is mended."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._whole = threading.Event()
        self._whole.set()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Pass nothing on; connections stay open, and new ones too."""
        self._whole.clear()

    def mend(self) -> None:
        """Pass on again; connections from before have ended."""
        if not self._whole.is_set():
            self._end_all()
            self._whole.set()

    def close(self) -> None:
        """Listen no more."""
        self._listener.close()
        self._whole.set()
        self._end_all()

    def _end_all(self) -> None:
        for one in list(self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        self._open.add(client)
        self._whole.wait()
        try:
            server = socket.create_connection(("127.0.0.1", self._upstream))
        except OSError:
            self._end(client)
            return
        self._open.add(server)
        back = threading.Thread(target=self._pass_on, args=(server, client), daemon=True)
        back.start()
        self._pass_on(client, server)
        back.join()
        self._end(client)
        self._end(server)

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while content := source.recv(65_536):
                self._whole.wait()
                target.sendall(content)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def _end(self, one: socket.socket) -> None:
        self._open.discard(one)
        one.close()
