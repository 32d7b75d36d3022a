"""kf_export_model: write a trained model as one file, for another machine."""

import argparse
from pathlib import Path

from kneeformer.cli.console import resume_with, run
from kneeformer.cli.model_options import add_model, model_folder
from kneeformer.cli.options import command_parser


def main() -> None:
    parser = command_parser("kf_export_model", __doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, help="file to write, MODEL.kfm")
    add_model(parser)
    arguments = parser.parse_args()
    run(lambda: _export(arguments), resume_with("nothing of the file"))


def _export(arguments: argparse.Namespace) -> None:
    from kneeformer.workflows.share_model import export_model

    exported = export_model(
        model_folder(arguments, masks=None), arguments.output, arguments.folds, arguments.checkpoint
    )
    for configuration, folds in exported.items():
        print(f"{configuration}: {', '.join(folds)}")
    print(f"model: {arguments.output}")
