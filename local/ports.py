"""Ports that the stack wants to listen on."""

from __future__ import annotations

import socket
from pathlib import Path

from include.errors import SettingsError


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # Servers set this too: without it a port counts as taken for a minute after its last connection.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def require_free(host: str, port: int, *, service: str, variable: str) -> None:
    """Refuse, in one line that names the port, its holder and the setting to change, when a port is taken."""
    if is_free(host, port):
        return
    holder = _holder(port)
    raise SettingsError(
        f"{service}: port {port} on {host} is in use{f' by {holder}' if holder else ''}; "
        f"stop that, or choose another port: {variable}={port + 1}"
    )


def _holder(port: int) -> str:
    """Program and process id of the listener on a port, as far as this user may see."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if Path(table).exists():
            for line in Path(table).read_text(encoding="utf-8").splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == port:  # 0A: listening
                    inodes.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(link.readlink()) in inodes for link in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text(encoding='utf-8').strip()} (process {process.name})"
        except OSError:
            continue
    return ""
