"""State of a training as checkpoints hold it: weights, their average, the optimiser's moments, progress."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, TypeAdapter, ValidationError
from torch import nn

from kneeformer.engine.checkpoint import Checkpoint, load_checkpoint, restore, save_checkpoint
from kneeformer.engine.optimiser import restore_moments
from kneeformer.engine.weight_average import WeightAverage
from kneeformer.errors import KneeformerError


@dataclass
class State:
    """Progress of a training. Everything else follows from the number of the step.

    Attributes:
        teacher_round: how many times a teacher has labelled.
    """

    step: Annotated[int, Field(ge=0)] = 0
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    best: Annotated[float, Field(allow_inf_nan=False)] = -1.0
    teacher_round: Annotated[int, Field(ge=0)] = 0


class TrainingState:
    """The network of a training and all that changes with it, with their checkpoints.

    Attributes:
        average: of the network's weights; None where the plan averages nothing.
    """

    def __init__(self, network: nn.Module, optimiser: torch.optim.Optimizer, averaged_share: float) -> None:
        self.network, self.optimiser, self.progress = network, optimiser, State()
        self.average = WeightAverage(network, averaged_share) if averaged_share else None

    @property
    def predictor(self) -> nn.Module:
        """The network that predicts: with averaged weights, where there are any."""
        return self.network if self.average is None else self.average.network

    def take_step(self, step: int) -> None:
        """Count a step, from 1, that the optimiser has made."""
        if self.average is not None:
            self.average.update(self.network, step)
        self.progress.step = step

    def save(self, file: Path, resumable: bool) -> None:
        """Write the weights that predict; to resume from it, the optimiser and the learnt weights too."""
        content: dict[str, Any] = {
            "network": self.predictor.state_dict(),
            "state": dict(vars(self.progress)),
        }
        if resumable:
            content["optimiser"] = self.optimiser.state_dict()
            if self.average is not None:
                content["unaveraged"] = self.network.state_dict()
        save_checkpoint(file, content)

    def restore(self, file: Path, device: torch.device) -> None:
        """Everything that `save` wrote. Raises KneeformerError: damaged, or of another training."""
        checkpoint = self._restore_weights(file, device)
        try:
            self.progress = TypeAdapter(State).validate_python(checkpoint.get("state"))
        except ValidationError as fault:
            raise KneeformerError(
                f"{file}: does not say how far it is (state); restart with --overwrite"
            ) from fault

    def _restore_weights(self, file: Path, device: torch.device) -> Checkpoint:
        """Restore all but the progress; returns the content of the file."""
        checkpoint = load_checkpoint(file, device)
        restore(self.network, checkpoint.get("unaveraged") or checkpoint["network"], file)
        if self.average is not None:
            restore(self.average.network, checkpoint["network"], file)
        try:
            restore_moments(self.optimiser, checkpoint.get("optimiser"))
        except ValueError as fault:
            raise KneeformerError(f"{file}: {fault}; restart with --overwrite") from fault
        return checkpoint
