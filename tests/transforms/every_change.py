"""Settings by which every change of a crop happens, but CutMix, which is of a batch."""

from kneeformer.config import AugmentationSettings

EVERY_CHANGE = AugmentationSettings(
    mirror_axes=("RL", "AP", "IS"),
    rotation_degrees=(30, 0, 0),
    scale=(0.8, 1.25),
    affine_probability=1,
    noise_probability=1,
    blur_probability=1,
    brightness_probability=1,
    contrast_probability=1,
    gamma_probability=1,
    low_resolution_probability=1,
)
