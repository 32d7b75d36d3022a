"""kf_demo: segment synthetic knees, complete a tibia and reconstruct a knee, in a folder of its own."""

import argparse
from contextlib import closing
from pathlib import Path

from kneeformer.cli.console import Bars, TrainingBar, resume_with, run
from kneeformer.cli.options import command_parser, positive, seed


def main() -> None:
    parser = command_parser("kf_demo", __doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("kf_demo"), help="default: ./kf_demo")
    parser.add_argument(
        "--minutes",
        type=positive,
        default=10.0,
        metavar="M",
        help="time limit of the training (default: 10)",
    )
    parser.add_argument("--seed", type=seed, default=0, help="seed of phantoms and training (default: 0)")
    arguments = parser.parse_args()
    run(lambda: _demo(arguments), resume_with("phantoms and prepared cases; the training starts again"))


def _demo(arguments: argparse.Namespace) -> None:
    from kneeformer.paths import refuse_in_raw
    from kneeformer.reporting.score_tables import terminal_table
    from kneeformer.workflows.demo import EPOCHS, STEPS_PER_EPOCH, run_demo

    refuse_in_raw(arguments.folder)
    with closing(TrainingBar()) as bar:
        result = run_demo(arguments.folder, arguments.minutes, arguments.seed, bar, Bars())
    planned = EPOCHS * STEPS_PER_EPOCH
    if result.steps < planned:
        print(
            f"\nThe time limit ended the training after {result.steps} of {planned} steps: scores are low; "
            f"--minutes {2 * arguments.minutes:g} gives it twice the time."
        )
    print("\nScores of two synthetic test knees:")
    print(terminal_table(result.summary))
    print("Pictures:", *result.pictures, sep="\n  ")
    print(f"Report: {result.report}")
