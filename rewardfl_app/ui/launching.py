"""Starting the app: `python launch_app.py` in a checkout, `rewardfl-app` where the package is installed."""

from __future__ import annotations

import argparse
import ipaddress
import os
import signal
import socket
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from rewardfl_app.runs.quiet_output import hide_secrets

BAD_USAGE = 2
AUTH_VARIABLE = "REWARDFL_AUTH"


class UsageError(Exception):
    """The app cannot start as asked; the message is one line."""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Reward FL: train, watch and compare in the browser.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=7860, help="port (default 7860; 0 takes a free one)")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), help="folder of the runs (default ./runs)")
    parser.add_argument(
        "--auth",
        metavar="USER:PASSWORD",
        help="ask for this name and password; others on this machine "
        f"can read it in the list of processes: rather use --auth-file, or the variable {AUTH_VARIABLE}",
    )
    parser.add_argument("--auth-file", metavar="FILE", type=Path, help="ask for the USER:PASSWORD in this file")
    parser.add_argument("--share", action="store_true", help="also make a public gradio.live link (needs --auth)")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser window")
    return parser.parse_args(arguments)


def credentials(auth: str | None, file: Path | None = None) -> tuple[str, str] | None:
    """("user", "password") of --auth, of the file, or of REWARDFL_AUTH, in that order; None without any.

    The variable is taken out of the environment, so that no process that is started from here inherits it. Raises
    UsageError.
    """
    variable = os.environ.pop(AUTH_VARIABLE, None)
    source = "--auth" if auth is not None else "--auth-file" if file is not None else AUTH_VARIABLE
    if auth is None and file is not None:
        try:
            auth = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--auth-file {file} cannot be read ({getattr(error, 'strerror', 'no text')}).") from error
    auth = variable if auth is None else auth
    if auth is None:
        return None
    user, _, password = auth.partition(":")
    if not user or not password:
        raise UsageError(f"{source} needs the form USER:PASSWORD.")
    return user, password


def check_exposure(host: str, share: bool, auth: tuple[str, str] | None) -> None:
    """Refuse to be reachable from other machines without a password. Raises UsageError."""
    if auth is None and share:
        raise UsageError("--share makes the app public: add --auth-file FILE (or --auth USER:PASSWORD).")
    if auth is None and not is_loopback(host):
        raise UsageError(
            f"--host {host} can be reached from other machines: add --auth-file FILE (or --auth USER:PASSWORD)."
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def free_port(host: str, port: int) -> int:
    """The port, or a free one for 0. Raises UsageError when it cannot be listened on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UsageError(f"Port {port} on {host} cannot be used ({reason}): choose another with --port.") from error
        return int(probe.getsockname()[1])


def has_display() -> bool:
    """Whether a browser window can open (else `webbrowser` may start a text browser in this terminal)."""
    return sys.platform in {"darwin", "win32"} or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the app until Ctrl-C; returns the exit code."""
    options = parse(arguments)
    from rewardfl_app.runs.folder import RunsFolderError, ensure_runs_dir

    try:
        auth = credentials(options.auth, options.auth_file)
        check_exposure(options.host, options.share, auth)
        port = free_port(options.host, options.port)
        runs_dir = ensure_runs_dir(options.runs_dir)
    except (UsageError, RunsFolderError) as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_USAGE

    # Ended by a signal, it still puts its uploads away.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    from rewardfl_app.ui import uploads

    with uploads.private_folder() as folder:
        os.environ["GRADIO_TEMP_DIR"] = str(folder)
        _serve(options, port, runs_dir, auth)
    return 0


def _serve(options: argparse.Namespace, port: int, runs_dir: Path, auth: tuple[str, str] | None) -> None:
    """Build the app and serve it until it is ended."""
    from rewardfl_app.ui import gradio_start, native_memory

    native_memory.share_arenas()
    gradio_start.load()
    from rewardfl_app.ui import guard, open_pages, theme
    from rewardfl_app.ui.app import build_app, prepare
    from rewardfl_app.ui.uploads import LARGEST_MB

    prepare(runs_dir)
    app = build_app(runs_dir)
    app.launch(
        server_name=options.host,
        server_port=port,
        auth=auth,
        auth_message="After a few wrong passwords the next one has to wait, up to a minute." if auth else None,
        share=options.share,
        allowed_paths=[str(runs_dir.resolve())],
        theme=theme.theme(),
        css=theme.css(),
        head=theme.head(),
        footer_links=[],
        quiet=True,
        ssr_mode=False,
        max_file_size=f"{LARGEST_MB}mb",
        state_session_capacity=open_pages.MOST,
        app_kwargs={"lifespan": guard.standing(runs_dir, password=auth is not None, shared=options.share)},
        # Environment variables can turn these on.
        mcp_server=False,
        enable_monitoring=False,
        run_history=False,
        prevent_thread_lock=True,
    )
    address = f"http://{f'[{options.host}]' if ':' in options.host else options.host}:{port}"
    print(f"Reward FL is at {address}   (runs in {runs_dir}; Ctrl-C ends the app, not the runs)", flush=True)
    if options.share and app.share_url:
        print(f"Public link: {app.share_url}", flush=True)
    if not options.no_browser and has_display():
        webbrowser.open(address)
    app.block_thread()


def command() -> None:
    """The command line: runs the app and leaves with its exit code."""
    hide_secrets()
    sys.exit(main())
