"""kf_demo: run everything on synthetic knees in a few minutes, in a folder of its own."""

import argparse
from pathlib import Path

from kneeformer.cli.console import Bars, positive, resume_with, run


def main() -> None:
    parser = argparse.ArgumentParser("kf_demo", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("kf_demo"), help="default: ./kf_demo")
    parser.add_argument("--minutes", type=positive, default=3.0, help="minutes of training (default: 3)")
    parser.add_argument("--seed", type=int, default=0, help="seed of phantom and training (default: 0)")
    arguments = parser.parse_args()
    run(lambda: _demo(arguments), resume_with("phantom knees and prepared cases; the training starts again"))


def _demo(arguments: argparse.Namespace) -> None:
    from kneeformer.cli.train import TrainingBar
    from kneeformer.paths import refuse_in_raw
    from kneeformer.reporting.score_tables import terminal_table
    from kneeformer.workflows.demo import run_demo

    refuse_in_raw(arguments.folder)
    bar = TrainingBar()
    result = run_demo(arguments.folder, arguments.minutes, arguments.seed, bar, Bars())
    bar.close()
    print("\nScores of two synthetic test knees:")
    print(terminal_table(result.summary))
    print("Pictures:", *result.pictures, sep="\n  ")
