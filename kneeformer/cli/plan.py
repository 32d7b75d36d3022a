"""kf_plan: check a dataset, take its fingerprint and write a plan."""

import argparse
from typing import TYPE_CHECKING

from kneeformer.cli.console import Bars, resume_with, run
from kneeformer.cli.options import add_cluster, add_device, add_processes, add_quiet, command_parser, positive
from kneeformer.cli.what_if import add_what_if, print_what_if
from kneeformer.paths import PLANS

if TYPE_CHECKING:
    from kneeformer.plans import Plan


def main() -> None:
    parser = command_parser("kf_plan", __doc__)
    add_planning(parser, needs_dataset=False)
    add_what_if(parser)
    arguments = parse_planning(parser)
    if arguments.what_if and not (arguments.shape and arguments.spacing):
        parser.error("--what_if needs --shape and --spacing")
    if not arguments.what_if and not arguments.dataset:
        parser.error("the following arguments are required: -d/--dataset")
    command = print_what_if if arguments.what_if else _plan_all
    resume = resume_with("what was planned before; no plan is half-written")
    run(lambda: command(arguments), resume, arguments.quiet)


def _plan_all(arguments: argparse.Namespace) -> None:
    from kneeformer.data.cluster import working_on

    with working_on(arguments.cluster):
        for dataset in arguments.dataset:
            make_plan(arguments, dataset)


def add_planning(parser: argparse.ArgumentParser, needs_dataset: bool = True) -> None:
    """Options of planning, shared with kf_plan_and_preprocess."""
    parser.add_argument(
        "-d", "--dataset", nargs="+", required=needs_dataset, help="dataset numbers or folder names"
    )
    parser.add_argument(
        "-pl",
        "--planner",
        default="default",
        choices=PLANS,
        help="planning rules: default, or those of the published papers",
    )
    parser.add_argument(
        "--verify_dataset_integrity",
        action="store_true",
        help="accepted for compatibility with nnU-Net; files are always checked",
    )
    parser.add_argument(
        "-gpu_memory_target",
        type=positive,
        default=None,
        metavar="GB",
        help="memory one training step may take (default: what the device has)",
    )
    parser.add_argument(
        "--hours",
        type=positive,
        default=None,
        metavar="H",
        help="time that a training may take, for segmentation (default: 1 on a CPU, 8 on MPS, 24 on a GPU)",
    )
    parser.add_argument(
        "-p",
        "--plans",
        default=None,
        metavar="NAME",
        help="name of the plan's file, without .json (default: kfPlans, or paperPlans with -pl paper)",
    )
    add_processes(parser)
    add_cluster(parser)
    add_device(parser)
    add_quiet(parser)


def parse_planning(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Arguments of a parser that has the options of planning; the plan is named after the planner."""
    arguments = parser.parse_args()
    arguments.plans = arguments.plans or PLANS[arguments.planner]
    return arguments


def make_plan(arguments: argparse.Namespace, dataset: str) -> "Plan":
    """Plan one dataset and print what was decided."""
    from kneeformer.data.processes import default_processes
    from kneeformer.paths import Folders
    from kneeformer.planning.budget import Limits
    from kneeformer.plans.table import plan_table
    from kneeformer.workflows.plan import plan_dataset

    folders = Folders.from_environment("raw", "preprocessed")
    name = folders.resolve(dataset)
    plan = plan_dataset(
        folders,
        name,
        arguments.processes or default_processes(),
        Bars(),
        arguments.plans,
        arguments.planner,
        Limits(arguments.device, arguments.gpu_memory_target, arguments.hours),
    )
    print(plan_table(plan))
    print(f"plan: {folders.plan_file(name, arguments.plans)}")
    return plan
