"""kf_plan: check a dataset, take its fingerprint and write a plan."""

import argparse
from typing import TYPE_CHECKING

from kneeformer.cli.console import Bars, add_device, add_plans, add_processes, resume_with, run
from kneeformer.paths import PLANS

if TYPE_CHECKING:
    from kneeformer.plans import Plan


def main() -> None:
    parser = argparse.ArgumentParser("kf_plan", description=__doc__)
    add_planning(parser)
    arguments = parse_planning(parser)
    run(lambda: _plan_all(arguments), resume_with("what was planned before; no plan is half-written"))


def _plan_all(arguments: argparse.Namespace) -> None:
    for dataset in arguments.dataset:
        make_plan(arguments, dataset)


def add_planning(parser: argparse.ArgumentParser) -> None:
    """Options of planning, shared with kf_plan_and_preprocess."""
    parser.add_argument("-d", "--dataset", nargs="+", required=True, help="dataset numbers or folder names")
    parser.add_argument(
        "-pl",
        "--planner",
        default="default",
        choices=PLANS,
        help="planning rules: our own (default), or the published papers'",
    )
    parser.add_argument(
        "--verify_dataset_integrity",
        action="store_true",
        help="accepted for compatibility with nnU-Net; files are always checked",
    )
    parser.add_argument(
        "-gpu_memory_target",
        type=float,
        default=None,
        metavar="GB",
        help="memory one training step may take (default: what the device has)",
    )
    add_plans(parser)
    parser.set_defaults(plans=None)
    add_processes(parser)
    add_device(parser)


def parse_planning(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Arguments of a parser that has the options of planning; the plan is named after the planner."""
    arguments = parser.parse_args()
    arguments.plans = arguments.plans or PLANS[arguments.planner]
    return arguments


def make_plan(arguments: argparse.Namespace, dataset: str) -> "Plan":
    """Plan one dataset and print what was decided."""
    from kneeformer.data.processes import default_processes
    from kneeformer.paths import Folders
    from kneeformer.workflows.plan import plan_dataset

    folders = Folders.from_environment()
    name = folders.resolve(dataset)
    plan = plan_dataset(
        folders,
        name,
        arguments.processes or default_processes(),
        Bars(),
        arguments.plans,
        arguments.device,
        arguments.gpu_memory_target,
        arguments.planner,
    )
    print(describe(plan))
    print(f"plan: {folders.plan_file(name, arguments.plans)}")
    return plan


def describe(plan: "Plan") -> str:
    """A few lines on each configuration."""
    from kneeformer.config.settings import by

    lines = []
    for name, configuration in plan.configurations.items():
        evidence = configuration.evidence
        lines.append(
            f"{name}: spacing {by(configuration.preprocessing.spacing)} mm, {configuration.summary()}"
        )
        if configuration.previous_stage is not None:
            lines.append(f"    starts from the weights of {configuration.previous_stage}, which comes first")
        if evidence is not None and evidence.parameters is not None:
            sees = f"a crop sees {evidence.crop_share_of_volume:.0%} of the median volume"
            lines.append(f"    {evidence.parameters / 1e6:.1f} M parameters; {sees}")
        if evidence is not None and evidence.measured is not None:
            cost = evidence.measured
            lines.append(
                f"    one training step on {cost.device}, measured: {cost.seconds_per_step:.2f} s, "
                f"{cost.memory_mb:.0f} MB"
            )
    return "\n".join(lines)
