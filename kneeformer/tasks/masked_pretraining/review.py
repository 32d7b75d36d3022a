"""Review of masked pre-training: masked-voxel errors, also of untrained baselines, and pictures."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kneeformer.config import CropConfiguration
from kneeformer.data.files import write_json
from kneeformer.data.storage import StoredCase, open_case
from kneeformer.engine.crops import blank_region, read_region
from kneeformer.engine.masked_voxels import hidden_ssim, hidden_voxels, psnr, spread
from kneeformer.geometry.orientation import crop_to_patient
from kneeformer.metrics.bootstrap import mean_interval
from kneeformer.metrics.interpolation import interpolate_hidden
from kneeformer.networks.compute import autocast
from kneeformer.reporting.masked_prediction import draw_masked_prediction
from kneeformer.transforms.token_masking import draw_visible

PICTURES, CASES, TEMPLATES = 4, 8, 64
Scores = dict[str, dict[str, float]]  # method -> measure -> value


@dataclass(frozen=True)
class Review:
    """Fills hidden voxels of middle crops by the network, by interpolation and by the mean image.

    Attributes:
        network: in evaluation mode on its device.
        training: stored cases (folder / name) for the mean image.
        validation: stored cases to fill in.
        persons: of validation cases, by name; a case without has its own.
        output: folder for masked_voxel_error.json and the first PICTURES of CASE.png.
    """

    network: nn.Module
    training: list[Path]
    validation: list[Path]
    persons: Mapping[str, str]
    configuration: CropConfiguration
    output: Path

    def run(self) -> str:
        """Write the files, and return a table of means with 95 % intervals over persons."""
        self.output.mkdir(parents=True, exist_ok=True)
        mean_image = torch.stack(
            [self._middle(open_case(c.parent, c.name)) for c in self.training[:TEMPLATES]]
        ).mean(0)
        scores = {
            case.name: self._score(case, mean_image, number)
            for number, case in enumerate(self.validation[:CASES])
        }
        write_json(self.output / "masked_voxel_error.json", scores)
        return error_table(scores, self.persons)

    def _score(self, case: Path, mean_image: Tensor, number: int) -> Scores:
        batch = self._batch(case, number)
        image, hidden = batch["image"], hidden_voxels(batch)
        covered = spread(~batch["visible"], image)
        filled = {
            "network": self._network(batch),
            "linear interpolation": self._interpolated(image, covered),
            "mean image": mean_image[None],
        }
        if number < PICTURES:
            completed = torch.where(covered, filled["network"], image)
            panels = (image, torch.where(covered, torch.nan, image), completed)
            draw_masked_prediction(
                [panel[0, 0].numpy() for panel in panels],
                self.configuration.preprocessing.spacing,
                self.output / f"{case.name}.png",
            )
        return {
            method: {
                "psnr": psnr(image, volume, hidden)[0],
                "ssim": hidden_ssim(image, volume, hidden)[0],
            }
            for method, volume in filled.items()
            if hidden.any()
        }

    def _middle(self, stored: StoredCase) -> Tensor:
        """The middle crop of a case, (channels, z, y, x)."""
        z, y, x = (n // 2 for n in stored.record.shape)
        return torch.from_numpy(read_region(stored.image, (z, y, x), self.configuration.training.crop))

    def _batch(self, case: Path, number: int) -> dict[str, Tensor]:
        configuration = self.configuration
        assert configuration.masking is not None
        stored = open_case(case.parent, case.name)
        middle = (stored.record.shape[0] // 2, stored.record.shape[1] // 2, stored.record.shape[2] // 2)
        crop, token = configuration.training.crop, configuration.network.token
        z, y, x = (c // t for c, t in zip(crop, token, strict=True))
        rng = np.random.default_rng([number])
        visible = draw_visible(rng, (z, y, x), configuration.masking, configuration.preprocessing.thick_axis)
        to_patient = crop_to_patient(stored.record.orientation, stored.record.spacing, np.zeros(3))
        return {
            "image": self._middle(stored)[None],
            "labels": torch.from_numpy(blank_region(stored, middle, crop, 0)),
            "to_patient": torch.from_numpy(to_patient)[None],
            "visible": torch.from_numpy(visible)[None],
        }

    @torch.inference_mode()
    def _network(self, batch: dict[str, Tensor]) -> Tensor:
        device = next(self.network.parameters()).device
        inputs = (batch[key].to(device) for key in ("image", "to_patient", "visible"))
        with autocast(device, self.configuration.training.precision):
            predicted: Tensor = self.network(*inputs)
        return predicted.float().cpu()

    def _interpolated(self, image: Tensor, covered: Tensor) -> Tensor:
        spacing = self.configuration.preprocessing.spacing
        channels = [interpolate_hidden(c.numpy(), covered[0, 0].numpy(), spacing) for c in image[0]]
        return torch.from_numpy(np.stack(channels))[None]


def error_table(scores: Mapping[str, Scores], persons: Mapping[str, str]) -> str:
    """Lines of means over cases, with 95 % intervals over persons where there are several."""
    found = {name: case for name, case in scores.items() if case}
    if not found:
        return "the validation crops hold nothing but air"
    cases, whose = list(found.values()), [persons.get(name, name) for name in found]
    several = len(set(whose)) > 1
    line = "  {:<21} PSNR {:5.2f} dB" + " ({:.2f} to {:.2f})" * several
    line += "   SSIM {:.3f}" + " ({:.3f} to {:.3f})" * several
    lines = [f"hidden voxels of {len(cases)} cases: mean{' (95 % CI)' * several}"]
    for method in cases[0]:
        means = [mean_interval((case[method][m] for case in cases), whose) for m in ("psnr", "ssim")]
        lines.append(line.format(method, *(value for mean in means for value in mean[: 1 + 2 * several])))
    return "\n".join(lines)
