"""kf_install_model: check a model's file, and install it in kf_results."""

import argparse
from pathlib import Path

from kneeformer.cli.console import command_parser, resume_with, run


def main() -> None:
    parser = command_parser("kf_install_model", __doc__)
    parser.add_argument("model", type=Path, help="file that kf_export_model has written, MODEL.kfm")
    arguments = parser.parse_args()
    run(lambda: _install(arguments), resume_with("nothing of the model"))


def _install(arguments: argparse.Namespace) -> None:
    from kneeformer.paths import results_from_environment
    from kneeformer.workflows.share_model import install_model

    print(f"model: {install_model(arguments.model, results_from_environment())}")
