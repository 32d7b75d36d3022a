"""kf_preprocess: prepare the cases of a planned dataset. Unchanged cases are skipped."""

import argparse

from kneeformer.cli.console import Bars, resume_with, run
from kneeformer.cli.options import add_cluster, add_plans, add_processes, add_quiet, command_parser


def main() -> None:
    parser = command_parser("kf_preprocess", __doc__)
    parser.add_argument("-d", "--dataset", nargs="+", required=True, help="dataset numbers or folder names")
    add_configurations(parser)
    add_plans(parser)
    add_processes(parser)
    add_cluster(parser)
    add_quiet(parser)
    arguments = parser.parse_args()
    run(lambda: _preprocess_all(arguments), resume_with("finished cases"), arguments.quiet)


def _preprocess_all(arguments: argparse.Namespace) -> None:
    from kneeformer.data.cluster import working_on

    with working_on(arguments.cluster):
        for dataset in arguments.dataset:
            preprocess(arguments, dataset)


def add_configurations(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c",
        "--configurations",
        nargs="+",
        default=None,
        metavar="NAME",
        help="configurations to prepare for (default: all of the plan)",
    )


def preprocess(arguments: argparse.Namespace, dataset: str) -> None:
    """Prepare one dataset and print what was made."""
    from kneeformer.data.processes import default_processes
    from kneeformer.paths import Folders
    from kneeformer.plans import read_dataset_plan
    from kneeformer.workflows.preprocess import preprocess_dataset

    folders = Folders.from_environment("raw", "preprocessed")
    name = folders.resolve(dataset)
    plan = read_dataset_plan(folders, name, arguments.plans)
    configurations = arguments.configurations or list(plan.configurations)
    made = preprocess_dataset(
        folders, plan, configurations, arguments.processes or default_processes(), Bars()
    )
    for folder, count in made.items():
        print(
            f"{folder}: {count} cases made, the rest unchanged" if count else f"{folder}: all cases unchanged"
        )
