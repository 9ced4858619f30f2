"""Where a client comes from, as bounds count it."""

from __future__ import annotations

import ipaddress


def party(host: str) -> str:
    """Whom an address is counted for: itself, and of IPv6 its /64, all of which one customer has at least."""
    if ":" not in host:
        return host
    address = ipaddress.IPv6Address(host)
    return str(address.ipv4_mapped or ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
