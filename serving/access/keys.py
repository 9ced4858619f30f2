"""API keys: a file of their hashes, and `python -m serving.access.keys new|list|revoke` that writes it.

A key is `ns_<id>_<secret>`; the secret is 32 random bytes, so there is nothing to guess and a fast keyed hash (BLAKE2b
with a salt of the key's own) is right: scrypt and its like slow the guessing of passwords that people choose, and would
cost every request tens of milliseconds here. The file holds no secret; a key is shown once, when it is made.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import hmac
import math
import os
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from serving.access.caller import Caller, Scope, known_scopes
from serving.errors import KeysError
from stores.file import write_whole

PREFIX = "ns"
SECRET_BYTES = 32
VALID_AT_ONCE = 2
"""Keys of one name that may be valid at a time: the old and the new one, while callers change over."""


class KeyRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A key as the file knows it: whose it is (`name`), what it may, when, and how often (requests/s)."""

    id: str
    name: str
    salt: str
    hash: str
    scopes: frozenset[str]
    not_before: datetime
    expires: datetime | None = None
    rate: float | None = None

    def valid(self, now: datetime) -> bool:
        """Whether it may be used at that time."""
        return self.not_before <= now and (self.expires is None or now < self.expires)

    def fits(self, secret: str) -> bool:
        """Whether that is its secret, in constant time."""
        return hmac.compare_digest(_hashed(secret, self.salt), self.hash)


NOBODYS = KeyRecord("", "", "00" * 16, "", frozenset(), datetime.max.replace(tzinfo=UTC))
"""Stands for an unknown key; no secret fits it."""


class KeyFile:
    """The file of keys; `KeysError` if it is malformed, no keys if it is missing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[KeyRecord]:
        """All keys, past ones included, oldest first."""
        try:
            return _decode(self.path.read_bytes())
        except FileNotFoundError:
            return []
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise KeysError(f"{self.path}: not a file of API keys ({reason}); restore it or make new keys") from None

    def new(
        self,
        name: str,
        scopes: frozenset[Scope],
        *,
        days: float | None = None,
        overlap: timedelta = timedelta(days=7),
        rate: float | None = None,
    ) -> str:
        """Make a key and return it. An older valid key of that name ends after `overlap`; a third one is refused."""
        now = datetime.now(UTC).replace(microsecond=0)
        id, secret, salt = secrets.token_hex(6), secrets.token_urlsafe(SECRET_BYTES), secrets.token_hex(16)
        expires = None if days is None else now + timedelta(days=days)
        record = KeyRecord(id, name, salt, _hashed(secret, salt), scopes, now, expires, rate)
        with self._locked():
            keys = self.read()
            valid = [key for key in keys if key.name == name and key.valid(now)]
            if len(valid) >= VALID_AT_ONCE:
                raise KeysError(
                    f"{name} has {len(valid)} valid keys; revoke one first: {', '.join(k.id for k in valid)}"
                )
            ending = [_ending(key, now + overlap) if key in valid else key for key in keys]
            self._write([*ending, record])
        return f"{PREFIX}_{id}_{secret}"

    def revoke(self, id: str) -> KeyRecord:
        """End a key now."""
        now = datetime.now(UTC).replace(microsecond=0)
        with self._locked():
            keys = self.read()
            found = next((key for key in keys if key.id == id), None)
            if found is None:
                raise KeysError(f"{self.path}: no key {id}; see `python -m serving.access.keys list`")
            self._write([_ending(key, now) if key is found else key for key in keys])
        return found

    def _write(self, keys: Sequence[KeyRecord]) -> None:
        write_whole(self.path, msgspec.json.format(msgspec.json.encode(keys), indent=1) + b"\n", mode=0o600)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path.parent, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


class KeyRing:
    """The keys of a file, by id, read again when the file changes; looked at no more than once in `LOOK_SECONDS`."""

    LOOK_SECONDS = 1.0

    def __init__(self, path: Path) -> None:
        self._file = KeyFile(path)
        self._seen: tuple[int, int, int] | None = None
        self._next_look = 0.0
        self._keys: dict[str, KeyRecord] = {}
        self._verified: dict[bytes, tuple[float, Caller]] = {}
        self.refused = ""
        """Why the file's newest state is not in use; empty if it is."""

    def look(self, now: float) -> None:
        """Read the file if it changed; a malformed one leaves the keys as they were."""
        if now < self._next_look:
            return
        self._next_look = now + self.LOOK_SECONDS
        seen = self._stamp()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._keys = {key.id: key for key in self._file.read()}
            self._verified.clear()
            self.refused = ""
        except KeysError as error:
            self.refused = str(error)

    def caller(self, credential: bytes, now: float) -> Caller | None:
        """The owner of a key, if it is valid at that time (seconds since 1970)."""
        # What was verified is remembered by its hash, until the key ends or the file changes: never more than all keys.
        digest = hashlib.sha256(credential).digest()
        verified = self._verified.get(digest)
        if verified is not None and now < verified[0]:
            return verified[1]
        prefix, _, rest = credential.decode("latin-1").partition("_")
        id, _, secret = rest.partition("_")
        key = self._keys.get(id, NOBODYS)
        # The hash is always computed, so the time does not reveal which ids exist.
        if not key.fits(secret) or prefix != PREFIX or not key.valid(datetime.fromtimestamp(now, UTC)):
            return None
        caller = Caller(key.name, known_scopes(key.scopes), key.rate)
        self._verified[digest] = (math.inf if key.expires is None else key.expires.timestamp(), caller)
        return caller

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            status = self._file.path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino, status.st_size


def _hashed(secret: str, salt: str) -> str:
    return hashlib.blake2b(secret.encode("utf-8", "replace"), key=bytes.fromhex(salt), digest_size=32).hexdigest()


def _ending(key: KeyRecord, at: datetime) -> KeyRecord:
    return msgspec.structs.replace(key, expires=at if key.expires is None else min(key.expires, at))


_decode = msgspec.json.Decoder(list[KeyRecord]).decode


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; `SERVING_KEYS` names the file unless `--file` does."""
    parsed = _parser().parse_args(arguments)
    if parsed.file is None:
        raise SystemExit("no file of keys: set SERVING_KEYS or give --file")
    try:
        _COMMANDS[parsed.command](KeyFile(parsed.file), parsed)
    except (KeysError, OSError) as error:
        raise SystemExit(str(error)) from None


def _parser() -> argparse.ArgumentParser:
    named = os.environ.get("SERVING_KEYS")
    parser = argparse.ArgumentParser(prog="python -m serving.access.keys", description="API keys of the serving API.")
    parser.add_argument("--file", type=Path, default=Path(named) if named else None, help="default: SERVING_KEYS")
    commands = parser.add_subparsers(dest="command", required=True)
    new = commands.add_parser("new", help="make a key and print it, this once")
    new.add_argument("name", help="whose it is; shown in logs")
    new.add_argument("--scope", type=Scope, action="append", choices=list(Scope), help="default: predict")
    new.add_argument("--days", type=float, help="how long it is valid; default: for good")
    new.add_argument("--overlap", type=float, default=7, help="days that this name's older key lives on; default: 7")
    new.add_argument("--rate", type=float, help="requests a second it may make; default: SERVING_RATE")
    commands.add_parser("list", help="show all keys, without their secrets")
    commands.add_parser("revoke", help="end a key now").add_argument("id")
    return parser


def _new(file: KeyFile, parsed: argparse.Namespace) -> None:
    scopes = frozenset(parsed.scope or [Scope.PREDICT])
    overlap = timedelta(days=parsed.overlap)
    print(file.new(parsed.name, scopes, days=parsed.days, overlap=overlap, rate=parsed.rate))
    print("This key is not shown again. Send it as `Authorization: Bearer <key>` or `X-API-Key`.", file=sys.stderr)


def _list(file: KeyFile, _: argparse.Namespace) -> None:
    now = datetime.now(UTC)
    for key in file.read():
        until = "for good" if key.expires is None else f"until {key.expires:%Y-%m-%d %H:%M} UTC"
        state = "valid" if key.valid(now) else "past" if key.not_before <= now else "not yet"
        print(f"{key.id}  {key.name}  {','.join(sorted(key.scopes))}  {state}  {until}")


def _revoke(file: KeyFile, parsed: argparse.Namespace) -> None:
    key = file.revoke(parsed.id)
    print(f"key {key.id} of {key.name} is revoked; servers notice within a second")


_COMMANDS = {"new": _new, "list": _list, "revoke": _revoke}

if __name__ == "__main__":
    main()
