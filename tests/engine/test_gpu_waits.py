"""A training step gives a GPU work and never waits for it: shown on PyTorch's device without values."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from kneeformer.config import NetworkSettings, StemStage
from kneeformer.engine.batch import on_device
from kneeformer.engine.loss_reader import LossReader
from kneeformer.engine.losses import segmentation_loss
from kneeformer.labels import LabelScheme
from kneeformer.networks.decoders import build_decoder
from kneeformer.networks.vit import HybridTransformer

LABELS = LabelScheme.from_json({"background": 0, "femur": 1, "tibia": 2})
REGIONS = LabelScheme.from_json({"background": 0, "bone": [1, 2], "femur": [1]}, [2, 1])
NETWORK = NetworkSettings(
    stem=(
        StemStage(channels=8, stride=(1, 1, 1), kernel=(1, 3, 3)),
        StemStage(channels=24, stride=(2, 8, 8), kernel=(3, 3, 3)),
    ),
    width=24,
    depth=2,
    heads=2,
    drop_path=0.5,
)


class CopiesRefused(TorchDispatchMode):
    """Raises AssertionError: a tensor is brought to the device, or a value is read from it."""

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), named: dict[str, Any] | None = None
    ) -> Any:
        made = function(*arguments, **(named or {}))
        tensors = [t for t in (*arguments, made) if isinstance(t, Tensor)]
        assert len({t.device for t in tensors if t.ndim}) <= 1, f"{function} waits for the device"
        return made


@pytest.mark.parametrize("loss", ["dice_ce", "mse"])
@pytest.mark.parametrize("scheme", [LABELS, REGIONS], ids=["labels", "regions"])
def test_a_step_of_segmentation_copies_nothing_and_reads_nothing(scheme: LabelScheme, loss: str) -> None:
    network = HybridTransformer(1, NETWORK, build_decoder(NETWORK, scheme.outputs)).to("meta")
    image = torch.empty(2, 1, 4, 16, 16, device="meta")
    labels = torch.empty(2, 4, 16, 16, dtype=torch.int16, device="meta")
    to_patient = torch.empty(2, 3, 4, device="meta")
    with CopiesRefused():
        segmentation_loss(loss, scheme)(network(image, to_patient), labels).backward()


def test_a_copy_is_noticed() -> None:
    with CopiesRefused(), pytest.raises(AssertionError, match="waits"):
        torch.arange(3.0).to("meta")


class Copies(TorchFunctionMode):
    """Whether each copy of a tensor to a device was waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.waited: list[bool] = []

    def __torch_function__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), named: dict[str, Any] | None = None
    ) -> Any:
        if function is Tensor.to and named:
            self.waited.append(not named.get("non_blocking", False))
        return function(*arguments, **(named or {}))


def test_a_batch_is_copied_whole_before_it_may_go_where_the_device_does_not_keep_it() -> None:
    with Copies() as copies:
        on_device({"image": torch.zeros(2), "labels": torch.zeros(2)}, torch.device("meta"))
    assert copies.waited == [True, True]


def test_a_loss_is_there_before_it_is_read_where_no_event_tells_when(tmp_path: Path) -> None:
    with Copies() as copies:
        LossReader(tmp_path, nn.Linear(1, 1), 0).add(1, 0.1, {}, torch.tensor(1.0), torch.tensor(2.0))
    assert copies.waited == [True]
