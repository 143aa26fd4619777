"""One request over HTTPS: where it may lead, who gets the token, and which failures are worth another try."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage, HTTPResponse
from typing import IO, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from rewardfl_app.downloads import DownloadError

Result = TypeVar("Result")

PAUSES = (1.0, 2.0, 4.0, 8.0)  # seconds before each further try, when nothing more has come since the last
_TIMEOUT = 60.0  # seconds without a byte
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_PASSING = (408, 425, 429, 500, 502, 503, 504)  # states of a server that pass


class BrokenOff(Exception):
    """A connection that failed in a way that another try may mend."""


class NoSuchRange(BrokenOff):
    """The server has no byte where the file was to go on."""


@dataclass(frozen=True)
class Token:
    """A secret for one server, `origin` as https://host[:port]; no other ever sees it."""

    origin: str
    value: str

    def put_on(self, request: Request) -> None:
        """Add it to a request to its own server. urllib does not carry such a header over a redirect."""
        if origin(request.full_url) == self.origin:
            request.add_unredirected_header("Authorization", f"Bearer {self.value}")


def origin(url: str) -> str:
    """Scheme, host and port of an address."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


def require_safe(url: str) -> None:
    """Raises DownloadError for all but https; http is for this machine alone."""
    try:
        parts = urlsplit(url)
        safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
        safe = safe and "@" not in parts.netloc
    except ValueError:
        safe = False
    if not safe:
        raise DownloadError(f"{shown(url)} is no plain https address, and nothing is fetched from another: check it.")


def shown(url: str) -> str:
    """The address for messages: a name and password before the host, or a signature behind it, stays out."""
    scheme, separator, rest = url.partition("?")[0].partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


class _Redirects(HTTPRedirectHandler):
    def __init__(self, token: Token | None) -> None:
        self._token = token

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        require_safe(newurl)
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise DownloadError(f"{shown(req.full_url)} leads away from https, which is not followed.")
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None and self._token is not None:
            self._token.put_on(request)
        return request


def ask(url: str, headers: dict[str, str] | None = None, token: Token | None = None) -> HTTPResponse:
    """The answer to a GET, open for reading. Raises BrokenOff, or DownloadError where another try would not help."""
    require_safe(url)
    request = Request(url, headers={"User-Agent": "rewardfl-app", "Accept-Encoding": "identity", **(headers or {})})
    if token is not None:
        token.put_on(request)
    try:
        return build_opener(_Redirects(token)).open(request, timeout=_TIMEOUT)
    except HTTPError as error:
        with error:
            _refused(shown(url), error.code)
        raise AssertionError from error  # _refused raises
    except (OSError, HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise DownloadError(
                f"{origin(url)} has no certificate that is trusted here ({reason.verify_message}): check the network."
            ) from error
        raise BrokenOff(str(reason) or type(reason).__name__) from error


def _refused(url: str, status: int) -> None:
    if status == 416:
        raise NoSuchRange("the server has fewer bytes than are here")
    if status in _PASSING:
        raise BrokenOff(f"the server answers {status}")
    if status in (401, 403):
        raise DownloadError(
            f"{url} is not given out ({status}): accept its terms there and set HF_TOKEN, or try later."
        )
    if status in (404, 410):
        raise DownloadError(f"{url} is not there any more ({status}): see whether it has moved.")
    raise DownloadError(f"{url} is refused by the server ({status}): try again later.")


def persist(what: str, attempt: Callable[[], Result], num_there: Callable[[], int] = lambda: 0) -> Result:
    """What `attempt` returns, tried again when it breaks off; DownloadError when nothing more comes after all PAUSES.

    `num_there` is the number of bytes so far: as long as it grows beyond what was ever there, patience begins anew.
    """
    furthest, failures = num_there(), 0
    while True:
        try:
            return attempt()
        except BrokenOff as error:
            if num_there() > furthest:
                furthest, failures = num_there(), 0
            if failures == len(PAUSES):
                raise DownloadError(
                    f"{what} cannot be fetched, the connection failed {failures + 1} times ({error}): "
                    "run the same command again later; what has come is kept."
                ) from error
            time.sleep(PAUSES[failures])
            failures += 1
