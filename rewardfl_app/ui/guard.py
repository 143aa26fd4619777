"""What stands before Gradio: who may ask for what, and with which headers it is answered.

Gradio has some sixty routes (a proxy, deep links, monitoring, an API for programs, ...) and the page uses a dozen of
them; those are listed here and no other is reachable. A request must come from the page itself: not from another site's
page, not under a foreign host name, and where there is a password only from somebody who is logged in. The browser gets
the files of `served_files` alone, and runs no script in them. What a browser uploads is its own.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import re
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rewardfl_app.ui import served_files, uploads
from rewardfl_app.ui.login_attempts import LoginAttempts

FILE = "/gradio_api/file="
UPLOAD = "/gradio_api/upload"
# What the page needs before anybody is logged in: the log-in itself and what draws it.
_OPEN = re.compile(r"/|/(assets|static)/.+|/(gradio_api/)?theme\.css|/favicon\.ico|/gradio_api/startup-events")
_READ = re.compile(rf"{_OPEN.pattern}|/config|/gradio_api/app_id|/gradio_api/heartbeat/\w+|{FILE}.+")
_WRITE = re.compile(rf"/login/?|/gradio_api/(component_server|run/predict)/?|{UPLOAD}")
_LARGEST_UPLOAD = uploads.LARGEST_MB * 10**6 + 2**16  # the file and the form around it
_LARGEST_REQUEST = 4 * 2**20
_COOKIE = "rewardfl_browser"
_BROWSER = re.compile(r"[\w-]{43}")

_SHARED_PAGE = " https://gradio.s3-us-west-2.amazonaws.com"  # where the page of a gradio.live link has its scripts
# Components have their scripts in the page's data, so these cannot be forbidden; but nothing can be sent elsewhere.
_PAGE_POLICY = (
    "default-src 'self'{shared}; script-src 'self' 'unsafe-inline' 'unsafe-eval'{shared}; "
    "style-src 'self' 'unsafe-inline'{shared}; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "font-src 'self' data:{shared}; connect-src 'self' data: blob:{shared}; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
# A report or passport shows its own pictures and videos and does nothing.
_FILE_POLICY = (
    "sandbox allow-same-origin allow-downloads; default-src 'none'; style-src 'unsafe-inline'; "
    "img-src 'self' data:; media-src 'self' data:; frame-ancestors 'self'"
)
_FILE_HEADERS = frozenset(
    {b"content-type", b"content-length", b"content-range", b"content-disposition", b"accept-ranges", b"etag"}
    | {b"last-modified", b"content-encoding", b"vary"}
)


class Guard:
    """ASGI middleware around the whole of Gradio's app."""

    def __init__(self, app: ASGIApp, gradio_app: Any, runs_dir: Path, *, password: bool, shared: bool = False) -> None:
        """Guard `app`, the middleware of `gradio_app`, which knows who is logged in where there is a password.

        Args:
            shared: the page is also behind a gradio.live link.
        """
        self._app = app
        self._gradio_app = gradio_app
        self._runs_dir = runs_dir.resolve()
        self._password = password
        self._page_policy = _PAGE_POLICY.format(shared=_SHARED_PAGE if shared else "")
        self._attempts = LoginAttempts()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # the page uses none
            await send({"type": "websocket.close", "code": 1008})
            return
        request = Request(scope)
        answer = self._refusal(request)
        file = None
        if answer is None and scope["path"].startswith(FILE):
            file = served_files.find(scope["path"].removeprefix(FILE), self._runs_dir)
            answer = _refuse(403, "This file is not for the browser.") if file is None else None
        browser = request.cookies.get(_COOKIE, "")
        is_new = not _BROWSER.fullmatch(browser)
        if answer is None and is_new and scope["path"] == UPLOAD:
            answer = _refuse(403, "Open the page first: an upload belongs to the browser that sends it.")
        browser = secrets.token_urlsafe(32) if is_new else browser

        async def answered(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._finish(request, message, file is not None, browser if is_new else None)
            await send(message)

        if answer is not None:
            await answer(scope, receive, answered)
            return
        token = uploads.sender.set(browser)
        try:
            if file is not None:
                # The file that was judged is the file that is sent, and gradio reads no address of its own.
                await self._app({**scope, "path": FILE + str(file), "raw_path": b""}, receive, answered)
            elif scope["path"] == UPLOAD:
                await self._upload(scope, receive, answered, browser)
            else:
                # The page is at one address: gradio answers a query for another of its pages with an error.
                query = b"" if scope["path"] == "/" else scope["query_string"]
                await self._app({**scope, "query_string": query}, receive, answered)
        finally:
            uploads.sender.reset(token)

    def _refusal(self, request: Request) -> Response | None:
        """The answer to a request that is not let through; None when it is."""
        path, method = request.scope["path"], request.method
        allowed = _READ if method in ("GET", "HEAD") else _WRITE if method == "POST" else None
        if not self._password and not is_this_machine(request.headers.get("host", "")):
            return _refuse(421, "Without a password the app answers under a name of this machine alone.")
        if not _from_the_page(request):
            return _refuse(403, "This request comes from another site's page.")
        if allowed is None or not allowed.fullmatch(path):
            return _refuse(404, "There is nothing here.")
        if self._password and not (_OPEN.fullmatch(path) or path.startswith("/login")) and not self._is_known(request):
            return JSONResponse({"detail": {"error": "Not authenticated", "auth_message": None}}, 401)
        if method == "POST":
            length = request.headers.get("content-length", "")
            if not length.isdecimal():
                return _refuse(411, "The length of the request is missing.")
            if int(length) > (_LARGEST_UPLOAD if path == UPLOAD else _LARGEST_REQUEST):
                return _refuse(413, "That is more than is accepted.")
        if path.startswith("/login") and (seconds := self._attempts.begin()):
            return _refuse(429, f"Too many wrong passwords: try again in {seconds} s.", {"Retry-After": str(seconds)})
        return None

    def _is_known(self, request: Request) -> bool:
        """Whether the request carries a log-in that Gradio has accepted."""
        names = (f"access-token-{self._gradio_app.cookie_id}", f"access-token-unsecure-{self._gradio_app.cookie_id}")
        return any(request.cookies.get(name) in self._gradio_app.tokens for name in names if name in request.cookies)

    def _finish(self, request: Request, message: Message, is_file: bool, new_browser: str | None) -> None:
        """Put the headers right that go out with every answer."""
        if is_file:  # gradio's partial answers repeat the request's own headers, cookies among them
            message["headers"] = [(name, value) for name, value in message["headers"] if name.lower() in _FILE_HEADERS]
        path = request.scope["path"]
        if path.startswith("/login") and message["status"] == 200:
            self._attempts.succeed()
        message["headers"] = [
            (name, _own_cookie(value) if name.lower() == b"set-cookie" else value)
            for name, value in message["headers"]
            if not name.lower().startswith(b"access-control-")
        ]
        headers = MutableHeaders(raw=message["headers"])
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "same-origin"
        headers["Cross-Origin-Resource-Policy"] = "same-origin"
        headers["Content-Security-Policy"] = _FILE_POLICY if is_file else self._page_policy
        if path == "/" and new_browser is not None:
            headers.append("Set-Cookie", f"{_COOKIE}={new_browser}; Path=/; HttpOnly; SameSite=Strict")
        message["headers"] = headers.raw

    async def _upload(self, scope: Scope, receive: Receive, send: Send, browser: str) -> None:
        """Let Gradio receive the file, and note whose it is before the browser hears of it."""
        plain = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
        start: Message = {}
        body = b""

        async def held(message: Message) -> None:
            nonlocal body
            if message["type"] == "http.response.start":
                start.update(message)
                return
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            if start["status"] == 200 and (refused := self._note(body, browser)):
                await refused(scope, receive, send)
                return
            await send(start)
            await send({"type": "http.response.body", "body": body})

        await self._app({**scope, "headers": plain, "query_string": b""}, receive, held)

    @staticmethod
    def _note(body: bytes, browser: str) -> Response | None:
        """Remember the one file that was received; several are removed again."""
        paths = [Path(path) for path in json.loads(body)]
        if len(paths) > 1:
            for path in paths:
                path.unlink(missing_ok=True)
            return _refuse(400, "One file at a time.")
        for path in paths:
            uploads.received.add(path, browser)
        return None


def standing(
    runs_dir: Path, *, password: bool, shared: bool = False
) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """The lifespan that puts the guard before Gradio's app, for `launch(app_kwargs={"lifespan": ...})`.

    Middleware that is handed over with app_kwargs would stand behind Gradio's own, which answers some requests itself.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        app.middleware_stack = Guard(app.middleware_stack, app, runs_dir, password=password, shared=shared)
        yield

    return lifespan


def is_this_machine(host: str) -> bool:
    """Whether a Host header (a name or address, with or without a port) can only mean this machine.

    A foreign name may lead here, too (DNS rebinding), and the browser would take its page for the same site.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _from_the_page(request: Request) -> bool:
    """Whether the request was made by this app's own page or typed by a person, as far as the browser tells.

    Sec-Fetch-Site holds behind proxies, too; browsers leave it out on plain http under another name than localhost.
    """
    site = request.headers.get("sec-fetch-site")
    if site in ("same-origin", "none"):
        return True
    if site is not None:  # a link on another page may lead here; nothing else may
        headers = request.headers
        opened = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        return request.method == "GET" and opened
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


def _refuse(status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(sentence, status, headers)


def _own_cookie(value: bytes) -> bytes:
    """Gradio's log-in cookies, kept from requests that other sites make."""
    cookie = SimpleCookie(value.decode("latin-1"))
    for morsel in cookie.values():
        morsel["samesite"] = "Lax"
        morsel["httponly"] = True
    return cookie.output(header="").strip().encode("latin-1")
