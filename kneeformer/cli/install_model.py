"""kf_install_model: check a model's file, and install it in kf_results."""

from pathlib import Path

from kneeformer.cli.console import resume_with, run
from kneeformer.cli.options import command_parser


def main() -> None:
    parser = command_parser("kf_install_model", __doc__)
    parser.add_argument(
        "model",
        help="file that kf_export_model has written, MODEL.kfm; or a repository of the Hugging Face Hub with "
        "such a file, OWNER/NAME[@REVISION][:FILE.kfm]",
    )
    arguments = parser.parse_args()
    run(lambda: _install(arguments.model), resume_with("nothing of the model"))


def _install(model: str) -> None:
    from kneeformer.paths import Folders
    from kneeformer.workflows.hub_model import HubName
    from kneeformer.workflows.share_model import install_from_hub, install_model

    results = Folders.from_environment("results").results
    name = HubName.parse(model)
    folder = install_model(Path(model), results) if name is None else install_from_hub(name, results)
    print(f"model: {folder}")
