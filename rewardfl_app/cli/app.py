"""The commands, and how their errors reach a person: one line each on standard error, and an exit code.

0: success, or a run that was stopped as asked. 1: a run that failed. 2: wrong usage, configuration or data.
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

import typer
from typer.exceptions import TyperException

from rewardfl_app.cli import (
    bench,
    check,
    data_check,
    download,
    export,
    generate,
    import_roll,
    passport,
    queue,
    results,
    score,
    train,
)
from rewardfl_app.config.problems import ConfigError
from rewardfl_app.data.errors import DataError
from rewardfl_app.runs.folder import RunError
from rewardfl_app.supervisor.inference_child import InferenceError

app = typer.Typer(
    name="python -m rewardfl_app",
    help="Reward Feedback Learning for image-to-video models: train, watch, compare.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command()(train.train)
app.command()(train.resume)
app.command()(train.stop)
app.command()(train.save)
app.command("set")(train.set_fields)
app.command()(queue.queue)
app.command()(results.status)
app.command()(results.runs)
app.command()(check.check)
app.command()(results.compare)
app.command()(passport.passport)
app.command()(generate.generate)
app.command()(export.export)
app.command()(score.score)
app.command("data-check")(data_check.data_check)
app.command("import-roll")(import_roll.import_roll)
app.command()(download.download)
app.command()(bench.bench)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    try:
        return int(app(list(sys.argv[1:] if arguments is None else arguments), standalone_mode=False) or 0)
    except ConfigError as error:
        return _refuse([str(problem) for problem in error.problems])
    except InferenceError as error:
        _refuse([str(error)])
        return error.exit_code
    except (RunError, DataError) as error:
        return _refuse([str(error)])
    except TyperException as error:
        return _refuse([f"{error.format_message()} See `python -m rewardfl_app --help`."])
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("error: interrupted", err=True)
        return 130
    except BrokenPipeError:
        # The reader of our output has gone, as `head` does; keep Python from complaining when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        reason = " ".join(str(error).split())
        typer.echo(f"error: {type(error).__name__}: {reason} (details in {_write_traceback()})", err=True)
        return 1


def _refuse(messages: Sequence[str]) -> int:
    for message in messages:
        typer.echo(f"error: {' '.join(message.split())}", err=True)
    return 2


def _write_traceback() -> Path:
    """The traceback of the current exception in a file of its own, for a report of the fault."""
    descriptor, path = tempfile.mkstemp(prefix="rewardfl-error-", suffix=".log")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        traceback.print_exc(file=file)
    return Path(path)
