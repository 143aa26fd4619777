"""`python -m rewardfl_app.inference generate|evaluate|score|data-check|compare|export|preview`: the process that loads
weights and renders, measures or exports, a child of the command line or of the page.

Exit code 0: done; 2: bad input, with one line `error: ...` on stderr; 1: anything else.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

from rewardfl_app.runs.process_end import end_process
from rewardfl_app.runs.quiet_output import hide_secrets

# Two OpenMP threads that spin while they wait collapse when another process runs; read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def main(arguments: list[str] | None = None) -> int:
    """Parses the arguments and does what they ask."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)

    from rewardfl_app.config.problems import ConfigError
    from rewardfl_app.data.errors import DataError
    from rewardfl_app.models.sources import WeightsError
    from rewardfl_app.rewards.pack import PackError
    from rewardfl_app.runs.folder import RunError

    try:
        if options.command == "preview":
            _serve(options)
        elif "request" in options:
            _measure(options)
        else:
            _render(options)
    except (ConfigError, DataError, WeightsError, PackError, RunError) as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        return 2
    return 0


def _render(options: argparse.Namespace) -> None:
    from rewardfl_app.inference import session
    from rewardfl_app.inference.evaluate import evaluate
    from rewardfl_app.inference.generate import generate
    from rewardfl_app.runs.folder import RunFolder

    run = RunFolder(options.run.absolute())
    loaded = session.load(run, options.checkpoint)
    if options.command == "generate":
        generate(loaded, options.image, options.prompt, options.seed, options.out)
    else:
        evaluate(loaded, run)


def _serve(options: argparse.Namespace) -> None:
    from rewardfl_app.inference.preview_worker import serve

    serve(options.folder, options.idle_minutes)


def _measure(options: argparse.Namespace) -> None:
    from rewardfl_app.inference.scoring_request import ScoringRequest, read_request

    content = read_request(options.request)
    if options.command == "compare":  # neither model nor scorer, which take seconds to import
        from rewardfl_app.inference.comparison_request import ComparisonRequest, write_comparison

        write_comparison(ComparisonRequest.of(content))
        return
    if options.command == "export":
        from rewardfl_app.inference.export import ExportRequest, export

        export(ExportRequest.of(content))
        return
    from rewardfl_app.inference.data_check import DataCheckRequest, data_check
    from rewardfl_app.inference.score import score

    if options.command == "score":
        score(ScoringRequest.of(content))
    else:
        data_check(DataCheckRequest.of(content))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m rewardfl_app.inference", description="Render and measure videos.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (("generate", "one video from an image"), ("evaluate", "the evaluation videos of a checkpoint")):
        command = commands.add_parser(name, help=text)
        command.add_argument("--run", type=Path, required=True, help="run folder")
        command.add_argument("--checkpoint", default="latest", help="base, latest, best or a step")
    generate = commands.choices["generate"]
    generate.add_argument("--image", type=Path, required=True)
    generate.add_argument("--prompt", required=True)
    generate.add_argument("--seed", type=int, default=0)
    generate.add_argument("--out", type=Path, required=True)
    requests = (
        ("score", "the faces of a video"),
        ("data-check", "the faces of the clips of a metadata.csv"),
        ("compare", "the film and the report of a comparison"),
        ("export", "what a checkpoint trained, for other tools"),
    )
    for name, text in requests:
        command = commands.add_parser(name, help=text)
        command.add_argument("--request", type=Path, required=True, help="JSON file that says what is asked")
    preview = commands.add_parser("preview", help="the videos that the Playground asks for, until nothing more comes")
    preview.add_argument("folder", type=Path, help="the .preview folder of a runs folder")
    preview.add_argument("--idle-minutes", type=float, default=10.0, help="end after so long without a request")
    return parser


if __name__ == "__main__":
    hide_secrets()
    end_process(main())
