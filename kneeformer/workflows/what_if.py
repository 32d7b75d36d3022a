"""The plan for described data on a described machine."""

from kneeformer.config import DatasetSettings
from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.planning.budget import Budget
from kneeformer.planning.fingerprint import CaseFingerprint, Fingerprint, Intensities
from kneeformer.plans import Plan
from kneeformer.workflows.plan import nothing_fits, propose

_NAME, _ORIENTATION = "Dataset000_WhatIf", "SPL"


def plan_what_if(
    shape: Size, spacing: Spacing, cases: int, unlabelled: int, structures: int, budget: Budget
) -> Plan:
    """Plan a segmentation of cases that are all alike; costs are estimated, nothing is measured.

    Args:
        shape, spacing: of each case, voxels and mm along (z, y, x).
        cases: number of cases with labels.
        unlabelled: number of subjects without labels.
        structures: number of labels, without the background.

    Raises:
        KneeformerError: the memory is too little for any crop.
    """
    names = tuple(f"structure_{n}" for n in range(1, structures + 1))
    case = CaseFingerprint(
        shape=shape,
        file_shape=shape,
        spacing=spacing,
        orientation=_ORIENTATION,
        volumes_mm3=dict.fromkeys(names, 1.0),
    )
    usual = Intensities(mean=0, deviation=1, percentile_00_5=-2, percentile_99_5=2, minimum=-3, maximum=3)
    fingerprint = Fingerprint(
        cases={f"case_{n}": case for n in range(cases)},
        intensities=(usual,),
        structures=names,
        orientations=(_ORIENTATION,),
        unlabelled=unlabelled,
    )
    dataset = DatasetSettings(
        name=_NAME,
        channel_names=("image",),
        labels={"background": 0, **{name: n for n, name in enumerate(names, 1)}},
        file_ending=".nrrd",
    )
    configurations = propose(fingerprint, "segmentation", dataset, budget)
    evidence = next(iter(configurations.values())).evidence
    needed = evidence.estimate.memory_mb if evidence is not None and evidence.estimate is not None else 0
    if needed > 1024 * budget.memory_gb:
        raise nothing_fits(f"{needed:.0f} MB", budget.device, budget.memory_gb)
    return Plan(dataset=dataset, configurations=configurations)
