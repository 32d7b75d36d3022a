"""kf_predict: predict a folder of images, or one file, with trained folds."""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from kneeformer.cli.console import (
    Bars,
    add_cluster,
    add_device,
    add_faces,
    add_quiet,
    command_parser,
    end_with,
    resume_with,
    run,
)
from kneeformer.cli.model_options import add_model, model_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kneeformer.workflows.predict import Predictor


def main() -> None:
    parser = command_parser("kf_predict", __doc__)
    parser.add_argument(
        "-i",
        "--input",
        type=Path,
        required=True,
        help="folder of CASE_0000 files or of DICOM series, or one file",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for CASE files")
    add_model(parser)
    parser.add_argument(
        "--best", action="store_true", help="predict with what kf_find_best_configuration has chosen"
    )
    parser.add_argument(
        "-m",
        "--masks",
        type=Path,
        default=None,
        help="for bone completion: folder of masks CASE, 1 bone to keep, 2 region to complete",
    )
    parser.add_argument(
        "--other_side",
        type=Path,
        default=None,
        metavar="FOLDER",
        help="for 3d_mirrored: folder of the other sides, scans CASE_0000 and label maps CASE",
    )
    parser.add_argument(
        "--disable_tta", action="store_true", help="no mirroring: faster, a little less accurate"
    )
    parser.add_argument(
        "--save_probabilities", action="store_true", help="CASE_probabilities.npz beside each label map"
    )
    parser.add_argument(
        "--file_ending",
        default=None,
        metavar="ENDING",
        help="format of the label maps, such as .seg.nrrd for 3D Slicer (default: the dataset's)",
    )
    parser.add_argument(
        "--save_mesh",
        default=None,
        choices=["stl", "ply", "vtp"],
        help="the surface of each structure, and CASE.json with its measurements",
    )
    add_faces(parser)
    parser.add_argument(
        "--save_dicom_seg",
        action="store_true",
        help="CASE.dcm too: a DICOM SEG that refers to the series; for DICOM input",
    )
    parser.add_argument(
        "--simulate",
        type=float,
        default=None,
        metavar="R",
        help="for reconstruction: keep one sample in R of fully sampled k-space; the same for every -c",
    )
    parser.add_argument(
        "--continue_prediction", action="store_true", help="skip cases that are predicted already"
    )
    parser.add_argument(
        "-num_parts", type=int, default=1, metavar="N", help="split the cases among N calls ..."
    )
    parser.add_argument(
        "-part_id", type=int, default=0, metavar="I", help="... of which this is the I-th, from 0"
    )
    add_cluster(parser)
    add_device(parser)
    add_quiet(parser)
    arguments = parser.parse_args()
    last = arguments.num_parts - 1
    if not 0 <= arguments.part_id <= last:
        parser.error(f"-part_id {arguments.part_id}: with -num_parts {last + 1} it is 0 to {last}")
    if arguments.best and (arguments.configuration or arguments.folds or arguments.plans):
        parser.error("--best: chooses configuration, folds and plan; omit -c, -f and -p")
    if arguments.faces is not None and arguments.save_mesh is None:
        parser.error("--faces: give --save_mesh stl, ply or vtp as well")
    resume = resume_with("predicted cases", "--continue_prediction")
    run(lambda: _predict(arguments), resume, arguments.quiet)


def _predict(arguments: argparse.Namespace) -> None:
    from kneeformer.data.cluster import working_on
    from kneeformer.data.images import file_ending
    from kneeformer.errors import KneeformerError
    from kneeformer.paths import refuse_in_raw
    from kneeformer.workflows.meshes import MeshFiles
    from kneeformer.workflows.predict_folder import predict_folder

    if not arguments.input.exists():
        raise KneeformerError(f"{arguments.input}: no such file or folder")
    refuse_in_raw(arguments.output)
    predictor = _load(arguments)
    if arguments.file_ending is not None:
        predictor = predictor.writing(file_ending(Path(arguments.file_ending)))
    with working_on(arguments.cluster):
        failed = predict_folder(
            predictor,
            arguments.input,
            arguments.output,
            Bars(),
            arguments.save_probabilities,
            arguments.continue_prediction,
            (arguments.part_id, arguments.num_parts),
            arguments.masks,
            arguments.other_side,
            arguments.save_mesh and MeshFiles(arguments.save_mesh, arguments.faces),
            arguments.save_dicom_seg,
        )
    print(f"predictions: {arguments.output}")
    end_with(failed, "predicted")


def _load(arguments: argparse.Namespace) -> "Predictor":
    from kneeformer.workflows.share_model import install_model

    if arguments.best:
        return _best(arguments)
    if arguments.dataset is not None and (file := Path(arguments.dataset)).is_file():
        with TemporaryDirectory() as place:
            return _trained(arguments, install_model(file, Path(place)), arguments.folds)
    model = model_folder(arguments, arguments.masks is not None)
    return _untrained(arguments, model) or _trained(arguments, model, arguments.folds)


def _trained(arguments: argparse.Namespace, model: Path, folds: "Sequence[int | str] | None") -> "Predictor":
    from kneeformer.workflows.predict import Predictor

    return Predictor.from_model_folder(
        model,
        folds,
        arguments.checkpoint,
        arguments.device,
        mirroring=not arguments.disable_tta,
        simulate=arguments.simulate,
    )


def _best(arguments: argparse.Namespace) -> "Predictor":
    """Load the choice of kf_find_best_configuration for the dataset, and print it."""
    from kneeformer.paths import results_from_environment
    from kneeformer.studies.best_configuration import read_best
    from kneeformer.workflows.chosen_predictor import ChosenPredictor

    results = results_from_environment()
    best = read_best(results, arguments.dataset)
    print(f"model: -d {best.dataset} --best: {best.description()}")
    models = best.models(results)
    members = [_trained(arguments, model, folds) for model, folds in models.items()]
    largest = {kept.structure: kept.components for kept in best.post_processing}
    return ChosenPredictor.of(members, largest) if largest or len(members) > 1 else members[0]


def _untrained(arguments: argparse.Namespace, model: Path) -> "Predictor | None":
    """A configuration that has no trained fold and needs none, as its plan has it."""
    from kneeformer.paths import PLANS, Folders
    from kneeformer.plans import read_plan
    from kneeformer.workflows.predict import Predictor

    name: str | None = arguments.configuration
    if name is None or arguments.folds is not None or any(model.glob("fold_*/*.pt")):
        return None
    folders = Folders.from_environment()
    file = folders.plan_file(folders.resolve(arguments.dataset), arguments.plans or PLANS["default"])
    plan = read_plan(file) if file.is_file() else None
    if plan is None or name not in plan.configurations or not plan.configuration(name).predicts_untrained:
        return None
    return Predictor.untrained(plan, name, arguments.device, arguments.simulate)
