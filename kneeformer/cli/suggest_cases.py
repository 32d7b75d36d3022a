"""kf_suggest_cases: suggest which scans of imagesUn to label next, with draft labels to correct."""

import argparse
from pathlib import Path

from kneeformer.cli.console import Bars, resume_with, run
from kneeformer.cli.options import add_dataset, add_device, add_plans, command_parser, whole_number


def main() -> None:
    parser = command_parser("kf_suggest_cases", __doc__)
    add_dataset(parser)
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="folder for the table and the draft labels"
    )
    parser.add_argument(
        "-n", "--number", type=whole_number(1), default=5, help="number of scans to suggest (default: 5)"
    )
    parser.add_argument("-c", "--configuration", default="3d_vit", help="default: 3d_vit")
    parser.add_argument("-f", "--folds", nargs="+", default=None, help="folds (default: all trained ones)")
    add_plans(parser)
    add_device(parser)
    arguments = parser.parse_args()
    run(lambda: _suggest(arguments), resume_with("nothing: it starts again"))


def _suggest(arguments: argparse.Namespace) -> None:
    from kneeformer.data.dataset import Dataset
    from kneeformer.paths import Folders, refuse_in_raw
    from kneeformer.studies.suggest_cases import TABLE, suggest_cases
    from kneeformer.workflows.predict import Predictor

    refuse_in_raw(arguments.output)
    folders = Folders.from_environment()
    name = folders.resolve(arguments.dataset)
    model = folders.model(name, arguments.configuration, arguments.plans)
    predictor = Predictor.from_model_folder(model, arguments.folds, device=arguments.device)
    dataset = Dataset.open(folders.raw / name)
    suggestions = suggest_cases(predictor, dataset, arguments.number, arguments.output, Bars())
    for rank, suggestion in enumerate(suggestions, 1):
        print(f"{rank:3}  {suggestion.case}  uncertainty {suggestion.uncertainty:.2f}")
    print(f"{TABLE}, and for each scan draft labels and a picture: {arguments.output}")
    print("correct the drafts, then move them to labelsTr and their scans to imagesTr")
