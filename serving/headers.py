"""Headers of every answer: a browser may do nothing with it, and no cache keeps it."""

from __future__ import annotations

SECURITY = [
    ("x-content-type-options", "nosniff"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
]
"""As https://cheatsheetseries.owasp.org (REST security) has them; HTTPS and its own header are for a proxy in front."""
