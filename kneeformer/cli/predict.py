"""kf_predict: predict a folder of scans, or one file, with a trained model."""

import argparse
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from kneeformer.cli.console import Bars, end_with, resume_with, run
from kneeformer.cli.load_predictor import loaded_predictor
from kneeformer.cli.model_options import add_model
from kneeformer.cli.options import (
    add_cluster,
    add_device,
    add_faces,
    add_quiet,
    command_parser,
    positive,
    whole_number,
)

if TYPE_CHECKING:
    from kneeformer.workflows.predict import Predictor


def main() -> None:
    parser = predict_parser()
    arguments = parser.parse_args()
    if fault := _contradiction(arguments):
        parser.error(fault)
    resume = resume_with("predicted cases", "--continue_prediction")
    run(lambda: _predict(arguments), resume, arguments.quiet)


def predict_parser() -> argparse.ArgumentParser:
    parser = command_parser("kf_predict", __doc__)
    _add_inputs(parser)
    _add_outputs(parser)
    add_model(parser, "folder or .kfm file")
    parser.add_argument(
        "--best",
        action="store_true",
        help="use the choice of kf_find_best_configuration, instead of -c, -f and -p",
    )
    parser.add_argument(
        "--disable_tta", action="store_true", help="no mirroring: faster, a little less accurate"
    )
    _add_parts(parser)
    add_cluster(parser)
    add_device(parser)
    add_quiet(parser)
    return parser


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-i",
        "--input",
        type=absolute_path,
        required=True,
        help="folder of CASE_0000 files or of DICOM series, or one file",
    )
    parser.add_argument(
        "-m",
        "--masks",
        type=absolute_path,
        default=None,
        help="for bone completion: folder of masks named CASE; 1 bone to keep, 2 region to complete",
    )
    parser.add_argument(
        "--other_side",
        type=absolute_path,
        default=None,
        metavar="FOLDER",
        help="for 3d_gp, 3d_pca* and 3d_mirrored: scans CASE_0000 and label maps CASE of the opposite side",
    )
    parser.add_argument(
        "--simulate",
        type=positive,
        default=None,
        metavar="R",
        help="for reconstruction: undersample fully sampled k-space R times, with the same mask for every -c",
    )


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output", type=absolute_path, required=True, help="folder for the predictions"
    )
    parser.add_argument(
        "--file_ending",
        default=None,
        metavar="ENDING",
        help="format of the label maps, such as .seg.nrrd for 3D Slicer (default: the dataset's)",
    )
    parser.add_argument("--save_probabilities", action="store_true", help="also write CASE_probabilities.npz")
    parser.add_argument(
        "--save_complex", action="store_true", help="for reconstruction: CASE_real and CASE_imag too"
    )
    parser.add_argument(
        "--save_mesh",
        default=None,
        choices=["stl", "ply", "vtp"],
        help="also write a surface of each structure, and CASE.json with measurements",
    )
    add_faces(parser)
    parser.add_argument(
        "--save_dicom_seg",
        action="store_true",
        help="also write CASE.dcm, a DICOM SEG that refers to the series; only for DICOM input",
    )


def _add_parts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--continue_prediction", action="store_true", help="skip cases that have a prediction by this model"
    )
    parser.add_argument(
        "-num_parts",
        type=whole_number(1),
        default=1,
        metavar="N",
        help="number of calls that share the cases (default: 1)",
    )
    parser.add_argument(
        "-part_id",
        type=whole_number(0),
        default=0,
        metavar="I",
        help="which part of the cases this call predicts, from 0",
    )


def absolute_path(text: str) -> Path:
    """Type of an option that is a path, made absolute: a worker of a cluster has another current folder."""
    return Path(text).absolute()


def _contradiction(arguments: argparse.Namespace) -> str | None:
    """Return a message about options that exclude each other; None where none do."""
    last = arguments.num_parts - 1
    if arguments.part_id > last:
        return f"-part_id {arguments.part_id}: with -num_parts {last + 1} it is 0 to {last}"
    if arguments.best and (arguments.configuration or arguments.folds or arguments.plans):
        return "--best: chooses configuration, folds and plan; omit -c, -f and -p"
    if arguments.faces is not None and arguments.save_mesh is None:
        return "--faces: give --save_mesh stl, ply or vtp as well"
    return None


def _predict(arguments: argparse.Namespace) -> None:
    from kneeformer.data.processes import checking_processes, child_importing
    from kneeformer.errors import KneeformerError
    from kneeformer.paths import refuse_in_raw

    if not arguments.input.exists():
        raise KneeformerError(f"{arguments.input}: no such file or folder")
    refuse_in_raw(arguments.output)
    # it checks the inputs, and starts while this process imports torch; a cluster has workers for that
    child = child_importing("kneeformer.data.check_mask", checking_processes())
    with nullcontext() if arguments.cluster else child:
        _predict_folder(arguments)


def _predict_folder(arguments: argparse.Namespace) -> None:
    from kneeformer.data.cluster import working_on
    from kneeformer.workflows.inputs import Sources
    from kneeformer.workflows.meshes import MeshFiles
    from kneeformer.workflows.predict import Extras
    from kneeformer.workflows.predict_folder import predict_folder

    meshes = arguments.save_mesh and MeshFiles(arguments.save_mesh, arguments.faces)
    with loaded_predictor(arguments) as predictor, working_on(arguments.cluster):
        failed = predict_folder(
            _writing(predictor, arguments),
            Sources(arguments.input, arguments.masks, arguments.other_side),
            arguments.output,
            Bars(),
            Extras(arguments.save_probabilities, meshes, arguments.save_dicom_seg),
            arguments.continue_prediction,
            (arguments.part_id, arguments.num_parts),
        )
    print(f"predictions: {arguments.output}")
    end_with(failed, "predicted")


def _writing(predictor: "Predictor", arguments: argparse.Namespace) -> "Predictor":
    """The predictor, set to write the requested formats and files."""
    from kneeformer.data.images import file_ending

    if arguments.file_ending is not None:
        predictor = predictor.writing(file_ending(Path(arguments.file_ending)))
    return predictor.writing_complex() if arguments.save_complex else predictor
