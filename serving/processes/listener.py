"""The listening socket, which all workers of a server inherit from their parent.

One socket and not one each (SO_REUSEPORT): the connections that wait to be accepted belong to the socket, so those that
wait when a worker dies are taken by the others; with a socket each they are lost. It also binds once, before any
worker starts, so a taken port is reported at once, and the behaviour is the same on every system.
"""

from __future__ import annotations

import ctypes
import logging
import socket
import struct
import sys

BACKLOG = 2_048
_SO_ATTACH_FILTER = 26  # asm-generic/socket.h; Python has no name for it
_FLAGS, _SYN, _SYN_ACK = 13, 0x02, 0x12  # the byte of a TCP header that holds them, and two of them (RFC 9293)
_LOAD_BYTE, _AND, _JUMP_EQUAL, _RETURN = 0x30, 0x54, 0x15, 0x06  # of classic BPF, linux/filter.h

log = logging.getLogger("serving")


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; `OSError` if that fails."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def inherited(descriptor: int) -> socket.socket:
    """The socket that the parent listens on."""
    return socket.socket(fileno=descriptor)


def close_the_door(listener: socket.socket) -> None:
    """Let no new connection begin, while those that have begun can still be accepted.

    Closing the socket instead would reset every connection that the kernel has set up and nobody has accepted yet,
    whose client may have sent a request. So the kernel drops packets that ask for a connection (SYN without
    ACK); the sender tries again a second later and is refused, or finds another server. Linux only; elsewhere
    nothing happens, and a connection may be lost in the instant of closing.
    """
    if sys.platform != "linux":
        return
    program = (
        (_LOAD_BYTE, 0, 0, _FLAGS),
        (_AND, 0, 0, _SYN_ACK),
        (_JUMP_EQUAL, 0, 1, _SYN),
        (_RETURN, 0, 0, 0),
        (_RETURN, 0, 0, 0xFFFFFFFF),
    )
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    try:
        listener.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(program), ctypes.addressof(code))
        )
    except OSError as error:
        log.warning("new connections cannot be kept out while the server ends (%s)", error.strerror)
