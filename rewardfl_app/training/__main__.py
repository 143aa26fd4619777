"""`python -m rewardfl_app.training RUN_DIR`: the trainer process. Exit code 0: completed or stopped as asked; 2: bad
input; 1: failed."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from pathlib import Path

from rewardfl_app.runs import pulse
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.process_end import end_process
from rewardfl_app.runs.quiet_output import hide_secrets

# Two OpenMP threads that spin while they wait collapse when another process runs; read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_LAST_WORDS_SECONDS = 5.0


def main(arguments: list[str] | None = None) -> int:
    """Trains the run in the given folder; its settings are all that is read besides what they name."""
    parser = argparse.ArgumentParser(prog="python -m rewardfl_app.training", description="Train a run folder.")
    parser.add_argument("run_dir", type=Path)
    run_dir = parser.parse_args(arguments).run_dir.absolute()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)

    run = RunFolder(run_dir)
    over = pulse.start(run, int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))
    try:
        return _train(run)
    finally:
        over.set()


def _train(run: RunFolder) -> int:
    """The exit code; what went wrong is written into the run folder."""
    from rewardfl_app.runs import checkpoints, settings
    from rewardfl_app.training import failure
    from rewardfl_app.training.ranks import Ranks
    from rewardfl_app.training.trainer import Trainer

    ranks = Ranks()
    if ranks.is_first:
        run.failure.unlink(missing_ok=True)
    trainer: Trainer | None = None
    try:
        latest = checkpoints.latest(run)
        trainer = Trainer(run, settings.in_force(run, 1 if latest is None else latest.step + 1), ranks)
        trainer.train()
    except Exception as error:
        if failure.is_of_a_peer(error):
            logging.getLogger(__name__).error("another process was lost: %s", error)
            # The launcher ends all ranks when the first one leaves: let the one that knows why write it down.
            time.sleep(_LAST_WORDS_SECONDS)
            return failure.BAD_INPUT if isinstance(error, failure.PeerFailed) else failure.FAILED
        logging.getLogger(__name__).exception("the trainer failed")
        reporter = trainer.reporter if trainer else None
        phase, step = (reporter.doing or reporter.phase, reporter.step) if reporter else ("loading", 0)
        code = failure.write(run, error, phase, step)
        if reporter:
            reporter.status("failed", failure.explain(error, phase, step)[2])
        return code
    ranks.leave()
    return 0


if __name__ == "__main__":
    hide_secrets()
    end_process(main())
