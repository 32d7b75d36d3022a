"""kf_benchmark: seconds and memory on this machine, as a table to paste in an issue; needs no dataset."""

import argparse
from typing import TYPE_CHECKING

from kneeformer.cli.console import add_device, add_plans, command_parser, positive, resume_with, run
from kneeformer.cli.what_if import positive_whole, triple

if TYPE_CHECKING:
    from kneeformer.plans import Plan
    from kneeformer.workflows.benchmark import Measured

SHAPE, SPACING_MM = (36, 320, 320), (3.1, 0.44, 0.44)


def main() -> None:
    parser = command_parser("kf_benchmark", __doc__)
    parser.add_argument("-d", "--dataset", default=None, help="planned dataset (default: --shape and below)")
    parser.add_argument("-c", "--configuration", default="3d_vit", help="that segments (default: 3d_vit)")
    parser.add_argument(
        "--shape",
        type=triple(positive_whole),
        default=SHAPE,
        metavar="ZxYxX",
        help="voxels of a case (default: 36x320x320)",
    )
    parser.add_argument(
        "--spacing",
        type=triple(positive),
        default=SPACING_MM,
        metavar="ZxYxX",
        help="mm (default: 3.1x0.44x0.44)",
    )
    parser.add_argument(
        "--structures", type=positive_whole, default=6, metavar="N", help="labels (default: 6)"
    )
    parser.add_argument(
        "--memory",
        type=positive,
        default=8.0,
        metavar="GB",
        help="that a training step may take (default: 8)",
    )
    add_plans(parser)
    add_device(parser)
    arguments = parser.parse_args()
    run(lambda: _measure(arguments), resume_with("nothing: it is measured again"))


def _measure(arguments: argparse.Namespace) -> None:
    from kneeformer.plans.table import plan_table
    from kneeformer.workflows.benchmark import benchmark, machine

    plan = _plan(arguments)
    print(
        f"{machine(arguments.device)}\n\n```text\n{plan_table(plan.with_only(arguments.configuration))}\n```\n"
    )
    print(table(benchmark(plan, arguments.configuration, arguments.device)))


def _plan(arguments: argparse.Namespace) -> "Plan":
    from kneeformer.paths import Folders
    from kneeformer.plans import read_dataset_plan
    from kneeformer.workflows.benchmark import described_plan

    if arguments.dataset is None:
        return described_plan(
            arguments.shape, arguments.spacing, arguments.structures, arguments.device, arguments.memory
        )
    folders = Folders.from_environment()
    return read_dataset_plan(folders, folders.resolve(arguments.dataset), arguments.plans)


def table(rows: "list[Measured]") -> str:
    """Markdown: a row a thing that was measured, its cost by formula beside it."""
    lines = ["| | seconds | MB | seconds by formula | MB by formula |", "|---|---|---|---|---|"]
    for row in rows:
        by = ("", "")
        if row.formula is not None:
            by = (f"{row.formula.seconds_per_step:.2f}", f"{row.formula.memory_mb:,.0f}")
        lines.append(f"| {row.what} | {row.seconds:.2f} | {row.memory_mb:,.0f} | {by[0]} | {by[1]} |")
    return "\n".join(lines)
