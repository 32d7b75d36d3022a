"""kf_export_mesh: make surfaces of the structures in label maps (STL, PLY, VTP), and measure them."""

import argparse
from pathlib import Path

from kneeformer.cli.console import Bars, end_with, resume_with, run
from kneeformer.cli.options import add_faces, add_processes, command_parser, named_dataset


def main() -> None:
    parser = command_parser("kf_export_mesh", __doc__)
    parser.add_argument("labels", type=Path, help="folder of label maps, or one file")
    parser.add_argument("output", type=Path, help="folder for CASE_STRUCTURE.stl and CASE.json")
    parser.add_argument(
        "-d",
        "--dataset",
        default=None,
        help="dataset whose dataset.json names the labels (default: the names in the files' headers)",
    )
    parser.add_argument("--format", default="stl", choices=["stl", "ply", "vtp"], help="default: stl")
    add_faces(parser)
    add_processes(parser)
    arguments = parser.parse_args()
    run(lambda: _export(arguments), resume_with("the surfaces that are written"))


def _export(arguments: argparse.Namespace) -> None:
    from kneeformer.data.processes import default_processes
    from kneeformer.errors import KneeformerError
    from kneeformer.paths import refuse_in_raw
    from kneeformer.workflows.meshes import MeshFiles, export_meshes

    if not arguments.labels.exists():
        raise KneeformerError(f"{arguments.labels}: no such file or folder")
    refuse_in_raw(arguments.output)
    named = arguments.dataset
    scheme = None if named is None else named_dataset(named).description.scheme
    failed = export_meshes(
        arguments.labels,
        arguments.output,
        scheme,
        MeshFiles(arguments.format, arguments.faces),
        arguments.processes or default_processes(),
        Bars(),
    )
    print(f"meshes: {arguments.output}")
    end_with(failed, "written")
