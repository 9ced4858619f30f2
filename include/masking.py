"""No secret in any line: passwords, tokens and keys are masked where text leaves a process."""

from __future__ import annotations

import io
import os
import re
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import combinations
from typing import Any, TextIO
from urllib.parse import unquote, unquote_plus

from include.log_lines import without_controls
from include.settings import SECRETS

MASK = "***"
SHORTEST = 4
"""A shorter secret would be found inside ordinary words; it is masked only in an address."""

_WORDS = (
    r"passw(?:or)?d|passphrase|pwd|secret|token|credentials?|authorization|signature|sig"
    r"|(?:api|access|secret|account|private|fernet)[_-]?key(?:[_-]?id)?"
)
_NAME = rf"[\w.-]*?(?:{_WORDS})"

_SECRET_VARIABLE = re.compile(rf"(?:.*_)?(?:{_WORDS})", re.IGNORECASE)
_PLAIN_VARIABLES = frozenset({"AWS_DEFAULT_REGION", "GOOGLE_APPLICATION_CREDENTIALS", "PWD"})

_USERINFO = re.compile(r"(?P<quote>[\"']?)\b[a-z][a-z0-9+.-]*://[^\s:/\[\"'<>]*:", re.IGNORECASE)
_IN_QUERY = re.compile(rf"(?P<name>(?<=[?&]){_NAME}=)(?P<value>[^\s&]*)", re.IGNORECASE)
_ASSIGNED = re.compile(
    rf"(?P<name>(?<![?&\w.-]){_NAME}\s*=\s*)(?P<value>'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|(?:\\.|[^\s\\])+)",
    re.IGNORECASE,
)
_KEYED = re.compile(
    rf"(?P<name>(?P<key>\\?[\"']){_NAME}(?P=key)\s*:\s*b?)(?P<open>\\?[\"']).*?(?<!\\)(?P=open)", re.IGNORECASE
)
_HEADER = re.compile(
    r"(?P<name>\b(?:proxy-)?(?:authorization|x-api-key|x-amz-security-token)\s*:\s*(?:[a-z]+\s+)?)(?P<value>\S+)"
    r"|(?P<scheme>\bbearer\s+)(?!\*|tokens?\b|auth)\S+",
    re.IGNORECASE,
)
_BY_ITS_FORM = re.compile(
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"  # an AWS key id
    r"|\beyJ[\w-]+\.[\w-]+\.[\w-]*"  # a JSON web token
    r"|(?<=PRIVATE KEY-----)[^-]*(?=-----END)"
)


class Mask:
    """Masks the secrets it knows, in every spelling, and anything in the form of a password."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = sorted({secret for secret in secrets if len(secret) >= SHORTEST}, key=len, reverse=True)
        self._known = re.compile("|".join(map(_spellings, known)), re.IGNORECASE) if known else None

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Mask:
        """A mask that knows the secrets of a process with this environment."""
        return cls(secret for name, value in environment.items() for secret in _secrets(name, value))

    def __call__(self, text: str) -> str:
        """The text, with `***` in place of each secret."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        text = "".join(_without_passwords(text)) if "://" in text else text
        text = _IN_QUERY.sub(rf"\g<name>{MASK}", text)
        text = _ASSIGNED.sub(rf"\g<name>{MASK}", text)
        text = _KEYED.sub(rf"\g<name>\g<open>{MASK}\g<open>", text)
        text = _HEADER.sub(lambda found: f"{found['name'] or found['scheme']}{MASK}", text)
        return _BY_ITS_FORM.sub(MASK, text)

    def inside(self, value: Any) -> Any:
        """A value of JSON's kinds, its texts masked (a mask over its JSON could break it)."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, Mapping):
            return {name: self.inside(each) for name, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.inside(each) for each in value]
        return value


def masked(text: str) -> str:
    """The text without the secrets of this process and without whatever has the form of a password."""
    return own_mask()(text)


def own_mask() -> Mask:
    """The mask of this process, by its environment as it is now."""
    return _mask_of(tuple(os.environ.items()))


@lru_cache(1)
def _mask_of(environment: tuple[tuple[str, str], ...]) -> Mask:
    return Mask.of(dict(environment))


def mask_output() -> None:
    """Mask all that this process prints from now on: lines of logs, tracebacks, what libraries say."""
    mask = own_mask()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what cannot be encoded must not end a step
    sys.stdout, sys.stderr = MaskedStream(sys.stdout, mask), MaskedStream(sys.stderr, mask)


class MaskedStream(io.TextIOBase):
    """A text stream that masks whole lines before it passes them on."""

    def __init__(self, stream: TextIO, mask: Mask) -> None:
        self._stream = stream
        self._mask = mask
        self._begun = ""
        self._lock = threading.RLock()  # a signal's handler may write while its thread does

    def write(self, text: str) -> int:
        """Keep an incomplete line; a secret may come in two pieces."""
        with self._lock:
            whole, newline, self._begun = (self._begun + text).rpartition("\n")
            if newline:
                self._stream.write(without_controls(self._mask(whole)) + newline)
        return len(text)

    def flush(self) -> None:
        """Pass on what there is."""
        with self._lock:
            begun, self._begun = self._begun, ""
            self._stream.write(without_controls(self._mask(begun)))
            self._stream.flush()

    def writable(self) -> bool:
        """It is."""
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _secrets(name: str, value: str) -> Iterator[str]:
    """What of a variable's value is secret: all of it by the variable's name, else the passwords in it."""
    yield from _passwords(value)
    named = name in SECRETS or _SECRET_VARIABLE.fullmatch(name)
    if named and name not in _PLAIN_VARIABLES and not name.endswith("_URL"):
        yield from {value, value.strip(), unquote(value)}


def _passwords(address: str) -> Iterator[str]:
    """The passwords in an address, as it is written and decoded; and the pieces that a parser may take them for."""
    found = [_unquoted(each["value"]) for form in (_IN_QUERY, _ASSIGNED) for each in form.finditer(address)]
    head = _USERINFO.search(address)
    if head and "@" in address[head.end() :]:
        found.append(address[head.end() : address.rindex("@")])
    for password in found:
        for written in {password, unquote(password), unquote_plus(password)}:
            marks = [-1, *(mark.start() for mark in re.finditer(r"[@:/?#]", written)), len(written)]
            yield from (written[first + 1 : end] for first, end in combinations(marks, 2))


def _unquoted(value: str) -> str:
    """A value of libpq's `name='value'`."""
    return re.sub(r"\\(.)", r"\1", value[1:-1] if value[:1] in ("'", '"') else value)


def _without_passwords(text: str) -> Iterator[str]:
    """The text's pieces, passwords in addresses masked: from `scheme://user:` to the last @ before the address ends."""
    place = 0
    while head := _USERINFO.search(text, place):
        end = re.compile(rf"[\s{head['quote']}]").search(text, head.end())
        at = text.rfind("@", head.end(), end.start() if end else len(text))
        yield text[place : head.end()]
        place = head.end()
        if at >= 0:
            yield MASK
            place = at
    yield text[place:]


def _spellings(secret: str) -> str:
    """A pattern for a secret as it is, percent-encoded, or escaped as in JSON, Python and shells."""
    return "".join(map(_spelling, secret))


def _spelling(character: str) -> str:
    encoded = "".join(f"%(?:25|%)*{byte:02x}" for byte in character.encode(errors="surrogatepass"))
    ways = [re.escape(character), encoded]
    if character.isspace():
        ways += [r"\s+", r"\+"]
    if not character.isalnum():
        ways.append(rf"\\+{re.escape(character)}")
    units = character.encode("utf-16-be", errors="surrogatepass").hex()
    ways.append("".join(rf"\\+u{units[place : place + 4]}" for place in range(0, len(units), 4)))
    return f"(?:{'|'.join(ways)})"
