"""A client's address, as limits count it."""

from __future__ import annotations

import ipaddress


def party(host: str) -> str:
    """What an address counts as: itself, or its /64 for IPv6, which belongs to one customer."""
    if ":" not in host:
        return host
    address = ipaddress.IPv6Address(host)
    return str(address.ipv4_mapped or ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
