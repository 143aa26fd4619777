"""A widget that follows run folders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets

from rewardfl_app.notebook.ticker import Ticker


class LiveBox(widgets.VBox):
    """Shows what `_look` finds, again and again while there may be more, and until it is closed."""

    def __init__(self, children: Sequence[Any], seconds: float) -> None:
        super().__init__(children)
        self.ticker = Ticker(self._look, seconds)
        if self.ticker.look():
            self.ticker.start()

    def close(self) -> None:
        """Take the widget away; nothing is read any more."""
        self.ticker.stop()
        super().close()

    def _look(self) -> bool:
        """Show what is there now; whether more may come."""
        raise NotImplementedError
