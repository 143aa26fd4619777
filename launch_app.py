"""Start the app: `python launch_app.py`. Opens on 127.0.0.1 unless told otherwise; stop it with Ctrl-C (runs go on)."""

from __future__ import annotations

from rewardfl_app.ui.launching import command

if __name__ == "__main__":
    command()
