"""Why a bucket did not do what it was asked, and whether asking again can help."""

from __future__ import annotations

import re
from dataclasses import dataclass

TRIES = 22
"""How often a store is asked that turns requests away or breaks off: of one that fails every second request, a night of
thousands of them still does not see a fault. The pauses between them add up to about 80 s."""
TRIES_IF_AWAY = 8
"""How often a store is tried that accepts no connection; about 13 s."""

SLOW_DOWN = frozenset(
    {"SlowDown", "503", "ServiceUnavailable", "Throttling", "ThrottlingException", "RequestLimitExceeded"}
    | {"TooManyRequests", "TooManyRequestsException", "429", "BandwidthLimitExceeded", "RequestThrottled"}
    | {"ServerBusy", "rateLimitExceeded"}
)
STALLED = frozenset({"RequestTimeout", "RequestTimeoutException", "IncompleteBody", "OperationAborted"})
CONFLICT = "ConditionalRequestConflict"
"""What S3 says while another exclusive write of the same key is under way."""
NO_BUCKET = frozenset({"NoSuchBucket", "ContainerNotFound"})
ELSEWHERE = frozenset({"PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed"})
"""What S3 says of a bucket of another region."""

# obstore tells the type of an error for few of them; the rest is in its words (docs/upgrading.md).
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_HOST = re.compile(r"https?://[^/\s]+")
_KIND = re.compile(r"kind: (\w+)")
_REASON = re.compile(r'(?:message|error): "([^"]+)"')
_IDENTITIES = ("/latest/api/token", "metadata.google.internal", "/metadata/identity")
"""Addresses of the machine's own identity, which is asked for where the environment has no credentials."""


@dataclass(frozen=True)
class Refusal:
    """Why a request failed: its code, or the client's words if there was no answer.

    `tries` is how often such a request is made before it is given up; 1 if asking again cannot help.
    """

    code: str = ""
    words: str = ""
    tries: int = 1
    not_there: bool = False
    taken: bool = False

    @classmethod
    def of(cls, error: Exception) -> Refusal:
        """The reason in an error of obstore."""
        said = str(error)
        if any(place in said for place in _IDENTITIES):
            return cls(words="there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        status = next(iter(_STATUS.findall(said)), "")
        code = next(iter(_CODE.findall(said)), status)
        if code in SLOW_DOWN or code in STALLED or code == CONFLICT or status >= "500":
            return cls(code, tries=TRIES)
        if status or isinstance(error, FileNotFoundError):  # Azure answers a deletion in words of its own
            return cls._answered(error, code)
        return cls._unanswered(error, said)

    @classmethod
    def _answered(cls, error: Exception, code: str) -> Refusal:
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        taken = isinstance(error, AlreadyExistsError | PreconditionError)
        return cls(code, taken=taken, not_there=isinstance(error, FileNotFoundError) and code not in NO_BUCKET)

    @classmethod
    def _unanswered(cls, error: Exception, said: str) -> Refusal:
        from obstore.exceptions import UnauthenticatedError

        first = said.partition("\n")[0]
        if isinstance(error, UnauthenticatedError) or "builder error" in first:
            return cls(words=first)
        host = next(iter(_HOST.findall(said)), "no answer")
        if "InvalidCertificate" in said:
            return cls(
                words=f"{host}: no known authority signed its certificate; name the authority's file in AWS_CA_BUNDLE"
            )
        kind = next((kind for kind in _KIND.findall(said) if kind != "Request"), "")
        reason = next(iter(_REASON.findall(said)), kind or first)
        return cls(words=f"{host}: {reason}; is the endpoint up?", tries=TRIES_IF_AWAY if kind == "Connect" else TRIES)

    def __str__(self) -> str:
        if self.words:
            return self.words
        if self.code in SLOW_DOWN:
            return f"{self.code}: the store asks to slow down, and went on to; try again later"
        if self.code == CONFLICT:
            return f"{self.code}: others write it all the time; try again"
        if self.tries > 1:
            return f"{self.code}: the store is in trouble; try again later"
        if self.code in ELSEWHERE:
            return f"{self.code}: the bucket is of another region; set AWS_REGION to it"
        return f"{self.code}; check bucket and credentials"
