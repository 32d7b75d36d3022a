"""kf_benchmark: measure time and memory on this machine, as a table to paste in an issue."""

import argparse
from typing import TYPE_CHECKING

from kneeformer.cli.console import resume_with, run
from kneeformer.cli.options import add_device, add_plans, command_parser, positive, triple, whole_number

if TYPE_CHECKING:
    from kneeformer.geometry.aliases import Size, Spacing
    from kneeformer.plans import Plan
    from kneeformer.workflows.benchmark import Measured

SHAPE, SPACING_MM = (36, 320, 320), (3.1, 0.44, 0.44)


def main() -> None:
    parser = command_parser("kf_benchmark", __doc__)
    parser.add_argument(
        "-d", "--dataset", default=None, help="planned dataset (default: none; a scan of --shape)"
    )
    parser.add_argument(
        "-c", "--configuration", default="3d_vit", help="segmentation configuration (default: 3d_vit)"
    )
    parser.add_argument(
        "--shape",
        type=triple(whole_number(1)),
        default=SHAPE,
        metavar="ZxYxX",
        help="size of a scan in voxels (default: 36x320x320)",
    )
    parser.add_argument(
        "--spacing",
        type=triple(positive),
        default=SPACING_MM,
        metavar="ZxYxX",
        help="spacing of its voxels in mm (default: 3.1x0.44x0.44)",
    )
    parser.add_argument(
        "--structures", type=whole_number(1), default=6, metavar="N", help="number of labels (default: 6)"
    )
    parser.add_argument(
        "--memory",
        type=positive,
        default=8.0,
        metavar="GB",
        help="memory that a training step may use (default: 8)",
    )
    add_plans(parser)
    add_device(parser)
    arguments = parser.parse_args()
    run(lambda: _measure(arguments), resume_with("nothing: it is measured again"))


def _measure(arguments: argparse.Namespace) -> None:
    from kneeformer.plans.table import plan_table
    from kneeformer.workflows.benchmark import benchmark, machine

    name, device = arguments.configuration, arguments.device
    plan, shape, spacing = _planned(arguments) if arguments.dataset else _described(arguments)
    print(f"{machine(device)}\n\n```text\n{plan_table(plan.with_only(name))}\n```\n")
    print(table(benchmark(plan, name, shape, spacing, device)))


def _described(arguments: argparse.Namespace) -> "tuple[Plan, Size, Spacing]":
    from kneeformer.workflows.benchmark import described_plan

    shape, spacing = arguments.shape, arguments.spacing
    plan = described_plan(shape, spacing, arguments.structures, arguments.device, arguments.memory)
    return plan, shape, spacing


def _planned(arguments: argparse.Namespace) -> "tuple[Plan, Size, Spacing]":
    from kneeformer.paths import Folders
    from kneeformer.plans import read_dataset_plan
    from kneeformer.workflows.benchmark import usual_case
    from kneeformer.workflows.fingerprint import read_fingerprint

    folders = Folders.from_environment()
    dataset = folders.resolve(arguments.dataset)
    plan = read_dataset_plan(folders, dataset, arguments.plans)
    return plan, *usual_case(read_fingerprint(folders, dataset))


def table(rows: "list[Measured]") -> str:
    """A Markdown table, one row per measurement, with its cost by formula beside it."""
    lines = ["| | seconds | MB | seconds by formula | MB by formula |", "|---|---|---|---|---|"]
    for row in rows:
        by = ("", "")
        if row.formula is not None:
            by = (f"{row.formula.seconds_per_step:.2f}", f"{row.formula.memory_mb:,.0f}")
        lines.append(f"| {row.what} | {row.seconds:.2f} | {row.memory_mb:,.0f} | {by[0]} | {by[1]} |")
    return "\n".join(lines)
