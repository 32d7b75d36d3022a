"""The settings that every plan is made of, frozen and checked; a task's own live with the task."""

from kneeformer.config.configuration import Configuration, CropConfiguration
from kneeformer.config.settings import (
    AugmentationSettings,
    Cost,
    DatasetSettings,
    Evidence,
    FineTuningSettings,
    GridSettings,
    InferenceSettings,
    Limit,
    MaskingSettings,
    NetworkSettings,
    Normalisation,
    PreprocessingSettings,
    StemStage,
    TeacherSettings,
    TrainingSettings,
)

__all__ = [
    "AugmentationSettings",
    "Configuration",
    "Cost",
    "CropConfiguration",
    "DatasetSettings",
    "Evidence",
    "FineTuningSettings",
    "GridSettings",
    "InferenceSettings",
    "Limit",
    "MaskingSettings",
    "NetworkSettings",
    "Normalisation",
    "PreprocessingSettings",
    "StemStage",
    "TeacherSettings",
    "TrainingSettings",
]
