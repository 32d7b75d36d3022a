"""The plan: the contract between planning, training and prediction. Readable without torch.

A plan is a JSON file that a person reads and edits. A configuration may name another one in
`inherits_from` and then holds only what differs from it. Reading resolves that, checks every value, and
refuses a wrong key, type or combination with the path of the key and the choices there are.
"""

from kneeformer.plan.bones import (
    BoneConfiguration,
    BoneGridSettings,
    BoneLearningSettings,
    CodeSettings,
    DescentSettings,
    LocNetSettings,
    PriorSettings,
    RegistrationSettings,
)
from kneeformer.plan.leading import LEADING, LeadingScore
from kneeformer.plan.reading import override, parse_plan, read_dataset_plan, read_fold_plan, read_plan
from kneeformer.plan.settings import (
    AugmentationSettings,
    Configuration,
    Cost,
    CropConfiguration,
    DatasetSettings,
    Evidence,
    FineTuningSettings,
    GridSettings,
    InferenceSettings,
    MaskingSettings,
    NetworkSettings,
    Normalisation,
    PreprocessingSettings,
    StemStage,
    TrainingSettings,
)
from kneeformer.plan.whole import Plan

__all__ = [
    "LEADING",
    "AugmentationSettings",
    "BoneConfiguration",
    "BoneGridSettings",
    "BoneLearningSettings",
    "CodeSettings",
    "Configuration",
    "Cost",
    "CropConfiguration",
    "DatasetSettings",
    "DescentSettings",
    "Evidence",
    "FineTuningSettings",
    "GridSettings",
    "InferenceSettings",
    "LeadingScore",
    "LocNetSettings",
    "MaskingSettings",
    "NetworkSettings",
    "Normalisation",
    "Plan",
    "PreprocessingSettings",
    "PriorSettings",
    "RegistrationSettings",
    "StemStage",
    "TrainingSettings",
    "override",
    "parse_plan",
    "read_dataset_plan",
    "read_fold_plan",
    "read_plan",
]
