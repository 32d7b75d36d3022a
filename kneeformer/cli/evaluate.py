"""kf_evaluate: compare predicted label maps with references, per case, per structure and overall."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from kneeformer.cli.console import Bars, resume_with, run
from kneeformer.cli.options import add_processes, command_parser, named_dataset

if TYPE_CHECKING:
    from kneeformer.data.dataset import Dataset


def main() -> None:
    parser = command_parser("kf_evaluate", __doc__)
    parser.add_argument("references", type=Path, help="folder of reference label maps")
    parser.add_argument("predictions", type=Path, help="folder of predicted label maps, of the same names")
    parser.add_argument(
        "-d",
        "--dataset",
        default=None,
        help="dataset that defines the labels: number or folder name (default: that of the references)",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=None,
        help="folder for summary.json and .csv (default: that of the predictions)",
    )
    add_processes(parser)
    arguments = parser.parse_args()
    run(lambda: _evaluate(arguments), resume_with("an earlier summary, unchanged"))


def _evaluate(arguments: argparse.Namespace) -> None:
    from kneeformer.data.processes import default_processes
    from kneeformer.paths import refuse_in_raw
    from kneeformer.reporting.score_tables import terminal_table
    from kneeformer.workflows.evaluate import evaluate_folders

    dataset = _dataset(arguments)
    output = arguments.output or arguments.predictions
    refuse_in_raw(output)
    summary = evaluate_folders(
        arguments.references,
        arguments.predictions,
        dataset.description,
        output,
        arguments.processes or default_processes(),
        Bars(),
    )
    print(terminal_table(summary))
    print(f"summary: {output / 'summary.json'} and summary.csv")


def _dataset(arguments: argparse.Namespace) -> "Dataset":
    """The dataset whose dataset.json defines the labels. Raises KneeformerError: there is none."""
    from kneeformer.data.dataset import Dataset
    from kneeformer.errors import KneeformerError

    if arguments.dataset is not None:
        return named_dataset(arguments.dataset)
    around: Path = arguments.references.absolute().parent
    if not (around / "dataset.json").is_file():
        raise KneeformerError(
            f"{arguments.references}: in no dataset whose dataset.json defines the labels; name one with -d"
        )
    return Dataset.open(around)
