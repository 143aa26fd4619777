"""A server on this machine that gives files as the real ones do, and fails as told."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Origin(ThreadingHTTPServer):
    """`contents`: bytes by path. The other fields say how it behaves; `asked` has the headers of every request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.contents: dict[str, bytes] = {}
        self.breaks: list[int] = []  # bytes after which each next answer is cut off
        self.gives_parts = True
        self.announces: int | None = None  # another Content-Length than the true one
        self.announces_nothing = False
        self.statuses: list[int] = []  # of the next answers
        self.redirects: dict[str, str] = {}
        self.with_etag = True
        self.links: dict[str, str] = {}  # the Link header of an answer, by path
        self.asked: list[tuple[str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def ranges(self) -> list[str | None]:
        """The Range header of each request."""
        return [headers.get("range") for _, headers in self.asked]

    def publish(self, repository: str, files: dict[str, bytes], large: set[str]) -> None:
        """Offer a repository as Hugging Face does; the large ones are in LFS."""
        commit = "c" * 40
        tree: list[dict[str, Any]] = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": "folder"}]
        for name, content in files.items():
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            entry: dict[str, Any] = {"type": "file", "oid": blob, "size": len(content), "path": name}
            if name in large:
                entry |= {"oid": "1" * 40, "lfs": {"oid": hashlib.sha256(content).hexdigest(), "size": len(content)}}
            tree.append(entry)
            self.contents[f"/{repository}/resolve/{commit}/{name}"] = content
        self.contents[f"/api/models/{repository}/revision/main"] = json.dumps({"sha": commit}).encode()
        self.contents[f"/api/models/{repository}/tree/{commit}"] = json.dumps(tree).encode()


class _Handler(BaseHTTPRequestHandler):
    server: Origin

    def do_GET(self) -> None:
        origin, path = self.server, self.path.partition("?")[0]
        origin.asked.append((path, {name.lower(): value for name, value in self.headers.items()}))
        if path in origin.redirects:
            self.send_response(302)
            self.send_header("Location", origin.redirects[path])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = origin.contents.get(path)
        status = origin.statuses.pop(0) if origin.statuses else 200
        if content is None or status != 200:
            self.send_error(404 if content is None else status)
            return
        etag = f'"{hashlib.md5(content).hexdigest()}"'
        begin = self._begin(etag)
        if begin and begin >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if begin is not None else 200)
        if begin is not None:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        body = content[begin or 0 :]
        if not origin.announces_nothing:
            self.send_header("Content-Length", str(len(body) if origin.announces is None else origin.announces))
        if origin.with_etag:
            self.send_header("ETag", etag)
        if path in origin.links:
            self.send_header("Link", origin.links[path])
        self.end_headers()
        with suppress(ConnectionError):  # who asked may have gone
            self.wfile.write(body[: origin.breaks.pop(0)] if origin.breaks else body)
        self.close_connection = True

    def _begin(self, etag: str) -> int | None:
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not wanted or not self.server.gives_parts or self.headers.get("If-Range", etag) != etag:
            return None
        return int(wanted[1])

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Origin]:
    server = Origin()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
