"""kf_plan_and_preprocess: check a dataset, plan it, and prepare its cases."""

import argparse

from kneeformer.cli.console import resume_with, run
from kneeformer.cli.options import command_parser
from kneeformer.cli.plan import add_planning, make_plan, parse_planning
from kneeformer.cli.preprocess import add_configurations, preprocess


def main() -> None:
    parser = command_parser("kf_plan_and_preprocess", __doc__)
    add_planning(parser)
    add_configurations(parser)
    arguments = parse_planning(parser)
    run(lambda: _plan_and_preprocess(arguments), resume_with("finished cases"), arguments.quiet)


def _plan_and_preprocess(arguments: argparse.Namespace) -> None:
    from kneeformer.data.cluster import working_on

    with working_on(arguments.cluster):
        for dataset in arguments.dataset:
            make_plan(arguments, dataset)
            preprocess(arguments, dataset)
