"""Prediction of arrays and of cases by trained folds."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from kneeformer import __version__
from kneeformer.config import Configuration
from kneeformer.data.dataset import Case
from kneeformer.data.dicom_segmentation import write_dicom_segmentation
from kneeformer.data.files import write_bytes, write_json, written_whole
from kneeformer.data.images import output_ending, write_image
from kneeformer.data.mesh_files import write_stl
from kneeformer.data.segmentation_file import write_label_map
from kneeformer.data.transform_files import write_transform
from kneeformer.engine.checkpoint import digest, load_network
from kneeformer.errors import KneeformerError
from kneeformer.geometry.aliases import Spacing
from kneeformer.geometry.grid import Grid
from kneeformer.networks.compute import choose_device, to_device
from kneeformer.plans import Plan, read_fold_plan
from kneeformer.tasks.cases import Outputs, Scan
from kneeformer.tasks.registry import predictive
from kneeformer.workflows.bone_finder import BoneFinder
from kneeformer.workflows.meshes import MeshFiles
from kneeformer.workflows.model_folder import bone_finder_folder, fold_folders
from kneeformer.workflows.outputs import PREVIEW, output_files
from kneeformer.workflows.scan_files import labels_on, read_other_side, read_scan

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Extras:
    """Further files to write for each case.

    Attributes:
        probabilities: CASE_probabilities.npz.
        meshes: format of the surfaces of structures; None writes none.
        dicom_seg: CASE.dcm, a DICOM SEG; only for DICOM series.
    """

    probabilities: bool = False
    meshes: MeshFiles | None = None
    dicom_seg: bool = False

    def identity(self) -> dict[str, Any]:
        """The choice of files, for JSON."""
        return {
            "save_probabilities": self.probabilities,
            "save_mesh": None if self.meshes is None else asdict(self.meshes),
            "save_dicom_seg": self.dicom_seg,
        }


NO_EXTRAS = Extras()


@dataclass(frozen=True)
class Predictor:
    """The trained folds of one configuration, averaged.

    Attributes:
        finder: finds the bone to keep where a mask marks none; None where no masks are required.
        simulate: acceleration by which k-space is undersampled before reconstruction; None keeps all of it.
        complex_images: also write complex reconstructions, as CASE_real and CASE_imag.

    >>> predictor = Predictor.from_model_folder("results/Dataset001_Knee/kfPlans__3d_vit")  # doctest: +SKIP
    >>> labels = predictor.predict(array, spacing=(3.1, 0.44, 0.44))  # doctest: +SKIP
    """

    plan: Plan
    configuration: Configuration
    networks: tuple[nn.Module, ...]
    finder: BoneFinder | None = None
    simulate: float | None = None
    complex_images: bool = False

    @classmethod
    def untrained(
        cls, plan: Plan, name: str, device: str | None = None, simulate: float | None = None
    ) -> "Predictor":
        """Load a configuration that predicts without training, from its plan.

        Raises:
            KneeformerError: it must be trained first.
        """
        configuration = plan.configuration(name)
        if not configuration.predicts_untrained:
            raise KneeformerError(f"{name}: not trained yet; train it with kf_train")
        task = predictive(configuration.task)
        network = task.network(plan.dataset, configuration)
        where = choose_device(device, task.needs_float64)
        networks = (to_device(network, where).eval(),)
        return cls(plan.with_only(name), configuration, networks, simulate=simulate)

    @classmethod
    def from_model_folder(
        cls,
        folder: Path | str,
        folds: Sequence[int | str] | None = None,
        checkpoint: str = "final",
        device: str | None = None,
        mirroring: bool = True,
        simulate: float | None = None,
    ) -> "Predictor":
        """Load trained folds.

        Args:
            folder: .../kfPlans__3d_vit, holding fold_0, fold_1, ...
            folds: None takes every finished one.
            checkpoint: "final", "best" or "latest".
            mirroring: average over the plan's mirrorings too.
            simulate: see the attribute.

        Raises:
            KneeformerError: no trained fold, or folds trained by different plans.
        """
        paths = fold_folders(Path(folder), folds, checkpoint)
        plans = [read_fold_plan(path) for path in paths]
        (configuration,) = plans[0].configurations.values()
        for path, plan in zip(paths, plans, strict=True):
            if plan.compatibility_key() != plans[0].compatibility_key():
                raise KneeformerError(
                    f"{path}: trained by another plan than {paths[0]}; choose folds with -f"
                )
        if not mirroring:
            configuration = configuration.without_mirroring()
        task = predictive(configuration.task)
        where = choose_device(device, task.needs_float64)
        networks = []
        for path in paths:
            network = load_network(
                partial(task.network, plans[0].dataset, configuration), path / f"checkpoint_{checkpoint}.pt"
            )
            networks.append(to_device(network, where).eval())
        finder, beside = None, bone_finder_folder(Path(folder), plans[0])
        if beside is not None:
            finder = BoneFinder(
                beside, lambda: cls.from_model_folder(beside, device=device, mirroring=mirroring).predict_scan
            )
        return cls(plans[0], configuration, tuple(networks), finder, simulate)

    def identity(self) -> dict[str, Any]:
        """Everything but the case that the outputs depend on, for JSON: model, weights and settings."""
        settings = self.configuration.model_copy(update={"evidence": None})
        text = settings.model_dump_json() + self.plan.dataset.model_dump_json()
        return {
            "kneeformer": __version__,
            "dataset": self.plan.dataset.name,
            "plans": self.plan.plans_name,
            "configuration": next(iter(self.plan.configurations)),
            "settings": hashlib.sha256(text.encode()).hexdigest(),
            "weights": [digest(network.state_dict()) for network in self.networks],
            "bone_finder": None if self.finder is None else self.finder.weights(),
            "simulate": self.simulate,
            "save_complex": self.complex_images,
        }

    def predict(
        self,
        image: np.ndarray,
        spacing: Spacing,
        probabilities: bool = False,
        direction: tuple[float, ...] | None = None,
    ) -> np.ndarray:
        """Label map of one image (or its probabilities).

        Args:
            image: (z, y, x), or (channels, z, y, x), as a file would hold it.
            spacing: mm along (z, y, x).
            direction: nine cosines, as SimpleITK's GetDirection() gives them; None assumes the orientation
                of most training scans.

        Returns:
            (z, y, x) labels, or (outputs, z, y, x) float16 probabilities.

        Raises:
            KneeformerError: an image of another shape, or with NaN or infinite voxels.
        """
        channels = image[None] if image.ndim == 3 else image
        if channels.ndim != 4 or len(channels) != len(self.plan.dataset.channel_names):
            raise KneeformerError(
                f"image of shape {image.shape}: the model takes (channels, z, y, x) with "
                f"channels {', '.join(self.plan.dataset.channel_names)}"
            )
        with np.errstate(over="ignore"):
            finite = np.isfinite(channels.astype(np.float32, copy=False)).all()
        if not finite:
            raise KneeformerError("image: voxels are NaN, infinite or over 3e38; replace them with a number")
        z, y, x = channels.shape[1:]
        if direction is None:
            usual = self.configuration.preprocessing.usual_orientation
            grid = Grid.along_patient((z, y, x), spacing, usual)
        else:
            grid = Grid((z, y, x), spacing, direction=direction)
        outputs = self.predict_scan(Scan(channels, grid), probabilities)
        return outputs.volumes["_probabilities" if probabilities else ""]

    def writing(self, file_ending: str) -> "Predictor":
        """A copy that writes volumes in another format."""
        dataset = self.plan.dataset.model_copy(update={"file_ending": file_ending})
        return replace(self, plan=self.plan.model_copy(update={"dataset": dataset}))

    def writing_complex(self) -> "Predictor":
        """A copy that also writes complex images. Raises KneeformerError: the task does not reconstruct."""
        task = self.configuration.task
        if "_real*" not in predictive(task).outputs:
            raise KneeformerError(f"task {task!r} does not reconstruct; omit --save_complex")
        return replace(self, complex_images=True)

    def on(self, device: str | None) -> "Predictor":
        """A copy with its networks on a device; None takes the best of this machine."""
        where = choose_device(device, predictive(self.configuration.task).needs_float64)
        return replace(self, networks=tuple(to_device(network, where) for network in self.networks))

    def undersampling_as_planned(self) -> "Predictor":
        """A copy that undersamples as the plan does for whole validation cases, if its task undersamples."""
        task = predictive(self.configuration.task)
        return replace(self, simulate=task.simulated_acceleration(self.configuration))

    def predict_scan(self, scan: Scan, probabilities: bool = False) -> Outputs:
        """Everything the task predicts of a scan."""
        task = predictive(self.configuration.task)
        scan = self.with_bone_to_keep(scan)
        return task.predict(self.networks, scan, self.plan.dataset, self.configuration, probabilities)

    def with_bone_to_keep(self, scan: Scan) -> Scan:
        """The scan with bone to keep in its mask, which a segmentation finds if none is marked."""
        return scan if scan.mask is None or self.finder is None else self.finder.with_bone(scan)

    def predict_case(
        self, case: Case, output: Path, extras: Extras = NO_EXTRAS, preview: bool = False
    ) -> None:
        """Predict the files of a case and write its outputs, on the first channel's grid.

        Args:
            case: with a mask if the task requires one; its label is only drawn in the picture.
            preview: render surfaces in the picture, and write it as preview.png as well.
        """
        task = predictive(self.configuration.task)
        scan = read_scan(case)
        if self.configuration.takes_other_side and case.other_side is not None:
            scan = replace(scan, other_side=read_other_side(case.other_side))
        try:
            if self.simulate is not None:
                scan = task.undersampled(scan, self.simulate, case.images[0].name, self.configuration)
            scan = self.with_bone_to_keep(scan)
            outputs = self.predict_scan(scan, extras.probabilities)
        except KneeformerError as fault:
            raise KneeformerError(f"{case.mask or case.images[0]}: {fault}") from fault
        for warning in outputs.warnings:
            _log.warning("%s: %s", case.images[0], warning)
        output.mkdir(parents=True, exist_ok=True)
        reference = None if case.label is None else labels_on(scan.grid, case.label)
        picture, scheme = output / f"{case.name}.png", self.plan.dataset.scheme
        task.draw(scan, outputs, reference, scheme, picture, surfaces=preview)
        if preview and picture.is_file():
            write_bytes(output / PREVIEW, picture.read_bytes())
        if extras.meshes is not None:
            for line in extras.meshes.write(output, case.name, outputs.volumes[""], scan.grid, scheme):
                _log.warning("%s", line)
        if extras.dicom_seg:
            write_dicom_segmentation(
                output / f"{case.name}.dcm",
                outputs.volumes[""],
                case.images[0],
                scheme,
                " ".join((self.plan.dataset.name, *self.plan.configurations)),
                __version__,
            )
        self._write(case, outputs, output, scan.grid)

    def _write(self, case: Case, outputs: Outputs, output: Path, grid: Grid) -> None:
        """Write the outputs, and remove files that only an earlier prediction of the case had."""
        task, ending = predictive(self.configuration.task), output_ending(self.plan.dataset.file_ending)
        for suffix, surface in outputs.surfaces.items():
            write_stl(output / f"{case.name}{suffix}.stl", surface)
        for suffix, matrix in outputs.transforms.items():
            write_transform(output / f"{case.name}{suffix}.tfm", matrix)
        if outputs.facts:
            write_json(output / f"{case.name}.json", outputs.facts)
        volumes = dict(outputs.volumes)
        if self.complex_images and (image := outputs.complex_image) is not None:
            volumes |= {"_real": image.real, "_imag": image.imag}
        written = {".json", ".png", *(f"{s}*" if v.ndim == 3 else f"{s}.npz" for s, v in volumes.items())}
        written |= {*(f"{s}.stl" for s in outputs.surfaces), *(f"{s}.tfm" for s in outputs.transforms)}
        _remove(case, output, [one for one in task.outputs if one not in written], ending)
        for suffix, volume in sorted(volumes.items(), reverse=True):  # the main one last: it says "done"
            path = output / f"{case.name}{suffix}{ending}"
            if volume.ndim != 3:
                _write_array(output / f"{case.name}{suffix}.npz", volume)
            elif suffix == "" and task.predicts_structures:
                write_label_map(path, volume, grid, self.plan.dataset.scheme)
            else:
                write_image(path, volume, grid, outputs.description)


def _remove(case: Case, output: Path, outputs: Sequence[str], ending: str) -> None:
    """Remove outputs of a case that an earlier prediction left."""
    for name in output_files(case.name, outputs, ending):
        (output / name).unlink(missing_ok=True)


def _write_array(path: Path, array: np.ndarray) -> None:
    with written_whole(path) as beside, beside.open("wb") as handle:
        np.savez_compressed(handle, probabilities=array)
