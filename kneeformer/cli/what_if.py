"""Options of kf_plan --what_if: a plan for data and a machine that are only described."""

import argparse

from kneeformer.cli.options import positive, triple, whole_number

_MEMORY_GB = 8.0


def add_what_if(parser: argparse.ArgumentParser) -> None:
    """Options that describe the data and the machine; neither has to exist."""
    group = parser.add_argument_group("what if", "plan for data and a machine that are only described")
    group.add_argument(
        "--what_if", action="store_true", help="print the plan for the following; writes nothing"
    )
    group.add_argument(
        "--shape",
        type=triple(whole_number(1)),
        metavar="ZxYxX",
        help="size of a scan in voxels, such as 36x320x320",
    )
    group.add_argument(
        "--spacing", type=triple(positive), metavar="ZxYxX", help="of its voxels in mm, such as 3.1x0.44x0.44"
    )
    group.add_argument(
        "--cases",
        type=whole_number(1),
        default=50,
        metavar="N",
        help="number of labelled cases (default: 50)",
    )
    group.add_argument(
        "--unlabelled",
        type=whole_number(0),
        default=0,
        metavar="N",
        help="number of subjects without labels (default: 0)",
    )
    group.add_argument(
        "--structures", type=whole_number(1), default=1, metavar="N", help="number of labels (default: 1)"
    )
    group.add_argument(
        "--device",
        choices=("cpu", "cuda", "mps"),
        default=argparse.SUPPRESS,
        help="device of the machine (default: cuda)",
    )
    group.add_argument(
        "--memory",
        dest="gpu_memory_target",
        type=positive,
        default=argparse.SUPPRESS,
        metavar="GB",
        help=f"memory that a training step may use (default: {_MEMORY_GB:g})",
    )
    group.add_argument("--json", action="store_true", help="print the whole plan, as JSON")


def print_what_if(arguments: argparse.Namespace) -> None:
    """Plan for the described data and machine, and print the plan."""
    from kneeformer.planning.budget import Budget
    from kneeformer.plans.table import plan_table
    from kneeformer.workflows.what_if import plan_what_if

    plan = plan_what_if(
        arguments.shape,
        arguments.spacing,
        arguments.cases,
        arguments.unlabelled,
        arguments.structures,
        Budget(
            arguments.device or "cuda",
            arguments.gpu_memory_target or _MEMORY_GB,
            hours_given=arguments.hours,
        ),
    )
    print(plan.to_text() if arguments.json else plan_table(plan))
