"""Live widgets over run folders, for the cells of a notebook.

from rewardfl_app import start


run = start("pocket", name="first")
panel(run)              # state, time left, stop, save, resume, settings that change while it runs
watch(run)              # its curves; watch(run, another) lays several over each other
player(run)             # before and after, in step
gallery(run)            # the newest videos

They keep nothing of their own: the run goes on when the kernel dies, and `find("first")` in a new one gives them all
back. A thread reads the folder while the run goes on and ends with it, so that a cell that waits for the run does not
hold them up. Beside its live view each has a still picture, for pages that show notebooks without a kernel.
"""

from __future__ import annotations

from rewardfl_app.notebook.control_panel import panel
from rewardfl_app.notebook.curves import watch
from rewardfl_app.notebook.sample_gallery import gallery
from rewardfl_app.notebook.sample_player import player

__all__ = ["gallery", "panel", "player", "watch"]
