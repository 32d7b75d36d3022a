"""Prediction with trained folds: for arrays, for cases, and for folders of files."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import nn

from kneeformer.data.check import case_problems
from kneeformer.data.dataset import Case, DatasetDescription, list_cases, side_in_name
from kneeformer.data.files import write_json
from kneeformer.data.geometry import Geometry
from kneeformer.data.images import file_ending, read_image, write_image
from kneeformer.data.processes import run_each
from kneeformer.data.transforms import write_transform
from kneeformer.errors import KneeformerError
from kneeformer.export.mesh import write_stl
from kneeformer.networks.compute import choose_device, place
from kneeformer.paths import fold_name
from kneeformer.plan import Configuration, CropConfiguration, Plan, read_plan
from kneeformer.stages.fingerprint import Watch, default_processes
from kneeformer.tasks import predictive
from kneeformer.tasks.base import Outputs, Scan
from kneeformer.training.checkpoint import load_checkpoint


@dataclass(frozen=True)
class Predictor:
    """The trained folds of one configuration, averaged.

    >>> predictor = Predictor.from_model_folder("results/Dataset001_Knee/kfPlans__3d_vit")  # doctest: +SKIP
    >>> labels = predictor.predict(array, spacing=(3.1, 0.44, 0.44))  # doctest: +SKIP
    """

    plan: Plan
    configuration: Configuration
    networks: tuple[nn.Module, ...]

    @classmethod
    def from_model_folder(
        cls,
        folder: Path | str,
        folds: Sequence[int | str] | None = None,
        checkpoint: str = "final",
        device: str | None = None,
        mirroring: bool = True,
    ) -> "Predictor":
        """Load trained folds.

        Args:
            folder: .../kfPlans__3d_vit, holding fold_0, fold_1, ...
            folds: None takes every finished one.
            checkpoint: "final", "best" or "latest".
            mirroring: average over the plan's mirrorings too.

        Raises:
            KneeformerError: no trained fold, or folds trained by different plans.
        """
        paths = _fold_folders(Path(folder), folds, checkpoint)
        plans = [read_plan(path / "plan.json") for path in paths]
        (configuration,) = plans[0].configurations.values()
        for path, plan in zip(paths, plans, strict=True):
            if essence(plan) != essence(plans[0]):
                raise KneeformerError(
                    f"{path}: trained by another plan than {paths[0]}; choose folds with -f"
                )
        if not mirroring and isinstance(configuration, CropConfiguration):
            inference = configuration.inference.model_copy(update={"mirror_axes": ()})
            configuration = configuration.model_copy(update={"inference": inference})
        task, where = predictive(configuration.task), choose_device(device)
        networks = []
        for path in paths:
            network = task.network(plans[0].dataset, configuration)
            network.load_state_dict(load_checkpoint(path / f"checkpoint_{checkpoint}.pt")["network"])
            networks.append(place(network, where).eval())
        return cls(plans[0], configuration, tuple(networks))

    def predict(
        self, image: np.ndarray, spacing: tuple[float, float, float], probabilities: bool = False
    ) -> np.ndarray:
        """Label map of one image (or its probabilities).

        Args:
            image: (z, y, x), or (channels, z, y, x), as a file would hold it.
            spacing: mm along (z, y, x).

        Returns:
            (z, y, x) labels, or (outputs, z, y, x) float16 probabilities.
        """
        channels = image[None] if image.ndim == 3 else image
        if channels.ndim != 4 or len(channels) != len(self.plan.dataset.channel_names):
            raise KneeformerError(
                f"image of shape {image.shape}: the model takes (channels, z, y, x) with "
                f"channels {', '.join(self.plan.dataset.channel_names)}"
            )
        z, y, x = channels.shape[1:]
        outputs = self.predict_scan(Scan(channels, Geometry((z, y, x), spacing)), probabilities)
        return outputs.volumes["_probabilities" if probabilities else ""]

    def predict_scan(self, scan: Scan, probabilities: bool = False) -> Outputs:
        """Everything the task predicts of a scan."""
        task = predictive(self.configuration.task)
        return task.predict(self.networks, scan, self.plan.dataset, self.configuration, probabilities)

    def predict_case(
        self, case: Case, output: Path, probabilities: bool = False, reference: Path | None = None
    ) -> None:
        """Predict the files of a case and write its outputs, on the first channel's grid.

        Args:
            case: its label is the mask by which the task is asked, where it is asked by one.
            reference: the truth, for the picture alone.
        """
        channels = [read_image(path) for path in case.images]
        for path, channel in zip(case.images[1:], channels[1:], strict=True):
            if mismatch := channels[0].geometry.mismatch(channel.geometry):
                raise KneeformerError(f"{path}: another grid than {case.images[0].name}: {mismatch}")
        geometry = channels[0].geometry
        asked = predictive(self.configuration.task).mask_labels is not None and case.label is not None
        scan = Scan(
            np.stack([c.array for c in channels]),
            geometry,
            read_image(case.label).array if asked and case.label is not None else None,
            case.side,
        )
        try:
            outputs = self.predict_scan(scan, probabilities)
        except KneeformerError as fault:
            raise KneeformerError(f"{case.label or case.images[0]}: {fault}") from fault
        output.mkdir(parents=True, exist_ok=True)
        truth = None if reference is None else read_image(reference).array
        predictive(self.configuration.task).draw(scan, outputs, truth, output / f"{case.name}.png")
        self._write(case, outputs, output, geometry)

    def _write(self, case: Case, outputs: Outputs, output: Path, geometry: Geometry) -> None:
        if outputs.surface is not None:
            write_stl(output / f"{case.name}.stl", outputs.surface)
        if outputs.transform is not None:
            write_transform(output / f"{case.name}.tfm", outputs.transform)
        if outputs.facts:
            write_json(output / f"{case.name}.json", outputs.facts)
        for suffix, volume in sorted(
            outputs.volumes.items(), reverse=True
        ):  # the main one last: it says "done"
            path = output / f"{case.name}{suffix}{self.plan.dataset.file_ending}"
            if volume.ndim == 3:
                write_image(path, volume, geometry)
            else:
                _write_array(output / f"{case.name}{suffix}.npz", volume)


def predict_folder(
    predictor: Predictor,
    source: Path,
    output: Path,
    watch: Watch,
    probabilities: bool = False,
    skip_existing: bool = False,
    part: tuple[int, int] = (0, 1),
    masks: Path | None = None,
) -> list[str]:
    """Predict every case of a folder, or one file, into a folder.

    Every input is opened once in a child process before the work: one that crashes its reader costs a line.

    Args:
        part: (id, number of parts): this call takes every n-th case, from the id-th.
        masks: folder of CASE files by which the cases are asked; a task that is asked by masks needs it.

    Returns:
        A line for each case that could not be predicted; the others are written.

    Raises:
        KneeformerError: nothing to predict.
    """
    if output.is_file():
        raise KneeformerError(f"{output}: a file; predictions go into a folder, give its name with -o")
    cases = _with_masks(predictor, _input_cases(predictor, source)[part[0] :: part[1]], masks)
    ending = predictor.plan.dataset.file_ending
    if skip_existing:
        cases = [c for c in cases if not (output / f"{c.name}{ending}").is_file()]
    description = _description(predictor)
    outcomes = run_each(
        case_problems,
        [(c, description) for c in cases],
        [str(c.images[0]) for c in cases],
        min(default_processes(), 4),
        lambda done: watch("Checking inputs", done, len(cases)),
    )
    failed: list[str] = []
    for done, (case, outcome) in enumerate(zip(cases, outcomes, strict=True), 1):
        problems = [str(outcome)] if isinstance(outcome, Exception) else outcome
        if not problems:
            try:
                predictor.predict_case(case, output, probabilities)
            except (KneeformerError, MemoryError) as fault:
                problems = [str(fault) or f"{case.images[0]}: not enough memory"]
        failed += problems
        watch("Predicting", done, len(cases))
    return failed


def _with_masks(predictor: Predictor, cases: list[Case], masks: Path | None) -> list[Case]:
    """The cases with their masks as labels. Raises KneeformerError: masks are needed, or not needed."""
    task, ending = predictor.configuration.task, predictor.plan.dataset.file_ending
    if (predictive(task).mask_labels is None) != (masks is None):
        need = "takes no masks: leave -m away" if masks else "is asked by masks: give their folder with -m"
        raise KneeformerError(f"task {task!r} {need}")
    return cases if masks is None else [replace(c, label=masks / f"{c.name}{ending}") for c in cases]


def ask(case: Case, predictor: Predictor, description: DatasetDescription, masks: Path, number: int) -> Case:
    """A validation case as the task is asked: its label the mask, written in a folder; or no label at all."""
    if case.label is None:
        return case
    reference = read_image(case.label)
    task = predictive(predictor.configuration.task)
    mask = task.question(reference.array, reference.geometry, description.scheme, number)
    if mask is None:
        return replace(case, label=None)
    file = masks / f"{case.name}{description.file_ending}"
    write_image(file, mask, reference.geometry)
    return replace(case, label=file)


def _input_cases(predictor: Predictor, source: Path) -> list[Case]:
    dataset = predictor.plan.dataset
    if source.is_file():
        if len(dataset.channel_names) > 1:
            raise KneeformerError(
                f"{source}: the model takes {len(dataset.channel_names)} channels; give a folder"
            )
        name = source.name.removesuffix(file_ending(source))
        name = name.removesuffix("_0000")
        return [Case(name, (source,), side=side_in_name(name))]
    cases = list_cases(source, _description(predictor))
    if not cases:
        raise KneeformerError(f"{source}: no images called CASE_0000{dataset.file_ending} here")
    return cases


def _description(predictor: Predictor) -> DatasetDescription:
    """What input files must be: the labels of a task that is asked by masks are those of its masks."""
    dataset, asked = predictor.plan.dataset, predictive(predictor.configuration.task).mask_labels
    return DatasetDescription(
        channel_names={str(i): n for i, n in enumerate(dataset.channel_names)},
        labels=asked or dataset.labels,
        regions_class_order=None if asked else dataset.regions_class_order,
        file_ending=dataset.file_ending,
    )


def _fold_folders(folder: Path, folds: Sequence[int | str] | None, checkpoint: str) -> list[Path]:
    found = sorted(p.parent for p in folder.glob(f"fold_*/checkpoint_{checkpoint}.pt"))
    if not found:
        raise KneeformerError(
            f"{folder}: no trained fold (fold_0/checkpoint_{checkpoint}.pt); train one with kf_train"
        )
    if folds is None:
        return [p for p in found if p.name != "fold_all"] or found
    wanted = [folder / fold_name(f) for f in folds]
    if missing := [p.name for p in wanted if p not in found]:
        raise KneeformerError(
            f"{folder}: {', '.join(missing)} has no checkpoint_{checkpoint}.pt; those that have one: "
            f"{', '.join(p.name for p in found)}"
        )
    return wanted


def essence(plan: Plan) -> tuple[object, ...]:
    """What folds must share to be averaged."""
    (configuration,) = plan.configurations.values()
    if isinstance(configuration, CropConfiguration):
        return plan.dataset, configuration.preprocessing, configuration.network, configuration.task
    return plan.dataset, configuration.preprocessing, configuration.registration, configuration.prior


def _write_array(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}")
    with unfinished.open("wb") as handle:
        np.savez_compressed(handle, probabilities=array)
    unfinished.replace(path)
