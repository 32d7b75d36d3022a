"""Two gloo processes that share each batch learn what one process learns."""

import os
import signal
import socket
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing import spawn
from torch.utils.data import Dataset

from kneeformer.config import MaskingSettings, NetworkSettings, StemStage, TrainingSettings
from kneeformer.engine.batch import Batch
from kneeformer.engine.checkpoint import load_checkpoint
from kneeformer.engine.learner import follow
from kneeformer.engine.log import read_log
from kneeformer.engine.loop import ProgressEvent, train
from kneeformer.engine.losses import IGNORE_INDEX
from kneeformer.engine.masked_voxels import MaskedVoxelObjective
from kneeformer.engine.training_run import Objective, TrainingRun
from kneeformer.labels import LabelScheme
from kneeformer.networks import ranks
from kneeformer.networks.decoders import build_decoder
from kneeformer.networks.masked_autoencoder import MaskedAutoencoder
from kneeformer.networks.vit import HybridTransformer
from kneeformer.paths import LATEST
from kneeformer.tasks.mri_reconstruction.objective import CRITERIA
from kneeformer.tasks.segmentation.task import SegmentationObjective

pytestmark = pytest.mark.slow

CROP, STEPS, STOP = (4, 16, 16), 6, 4
SCHEME = LabelScheme.from_json({"background": 0, "femur": 1, "tibia": 2})
REGIONS = LabelScheme.from_json({"background": 0, "bone": [1, 2], "femur": [1]}, [2, 1])
SETTINGS = TrainingSettings(
    crop=CROP,
    batch_size=3,  # one item for the first rank, two for the second
    epochs=2,
    steps_per_epoch=STEPS // 2,
    learning_rate=1e-4,  # Adam divides by gradients, and some are nothing but rounding
    warmup_steps=1,
    gradient_clip=1000,  # which would hide a factor
    precision="fp32",
    averaged_share=0.5,
)
NETWORK = NetworkSettings(
    stem=(StemStage(channels=24, stride=(2, 8, 8), kernel=(3, 3, 3)),),
    width=24,
    depth=2,
    heads=2,
    drop_path=0.5,
)


class Crops(Dataset[Batch]):
    """Noise whose bright voxels are labelled; only the last item has a tibia, and voxels to ignore."""

    def __init__(self, items: range) -> None:
        self.items = items

    def __len__(self) -> int:
        return 2

    def __getitem__(self, step: int) -> Batch:
        drawn = [self._item(torch.Generator().manual_seed(100 * step + item), item) for item in self.items]
        return {name: torch.stack([one[name] for one in drawn]) for name in drawn[0]}

    def _item(self, generator: torch.Generator, item: int) -> Batch:
        image = torch.randn(1, *CROP, generator=generator)
        labels = (image[0] > 1).long() * (2 if item == 2 else 1)
        if item == 2:
            labels[:, :12] = IGNORE_INDEX
        visible = torch.zeros(2, 2, 2, dtype=torch.bool)
        visible.view(-1)[torch.randperm(8, generator=generator)[:2]] = True
        return {"image": image, "labels": labels, "visible": visible, "to_patient": torch.eye(3, 4)}


class Magnitudes(SegmentationObjective):
    """A loss of reconstruction, of the network's first output; validated as a segmentation."""

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        found = network(batch["image"], batch["to_patient"])[:, 0].sigmoid()
        return CRITERIA["l1_ssim"](found, batch["image"][:, 0].sigmoid())


OBJECTIVES: dict[str, Objective] = {
    "dice_ce": SegmentationObjective(SCHEME),
    "regions": SegmentationObjective(REGIONS),
    "ssim_mse": SegmentationObjective(SCHEME, "ssim_mse"),
    "masked": MaskedVoxelObjective(normalised=True, with_ssim=True),
    "l1_ssim": Magnitudes(SCHEME),
}


def run(folder: Path, name: str) -> TrainingRun:
    """A training of this rank, from weights that only the leader has."""
    torch.manual_seed(ranks.rank())
    if name == "masked":
        decoder = build_decoder(NETWORK, 1)
        masking = MaskingSettings(filler_width=24, filler_depth=1)
        network: nn.Module = MaskedAutoencoder(1, NETWORK, masking, decoder)
    else:
        outputs = REGIONS.outputs if name == "regions" else SCHEME.outputs
        network = HybridTransformer(1, NETWORK, build_decoder(NETWORK, outputs))
    folder.mkdir(parents=True, exist_ok=True)
    return TrainingRun(
        network=network,
        objective=OBJECTIVES[name],
        training=Crops(ranks.share_of(SETTINGS.batch_size)),
        validation=Crops(range(SETTINGS.batch_size)),
        settings=SETTINGS,
        folder=folder,
        device=torch.device("cpu"),
        seed=5,
    )


def stopping(event: ProgressEvent) -> None:
    if event.step == STOP:
        signal.raise_signal(signal.SIGINT)


def work(made: TrainingRun, stop: bool = False, resume: bool = False) -> None:
    """This rank's part of a training, which stops after four steps, or begins there."""
    if not ranks.leads():
        follow(made)
        return
    with suppress(KeyboardInterrupt):
        train(made, resume, stopping if stop else lambda _: None)


def everything(folder: Path) -> None:
    """All trainings of a rank, or of a process alone."""
    torch.set_num_threads(1)
    for name in OBJECTIVES:
        work(run(folder / name, name))
    work(run(folder / "stopped", "dice_ce"), stop=True)


def rank_main(rank: int, port: int, folder: Path) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with ranks.joined("cpu"):
        everything(folder / "two")
        work(run(folder / "one" / "stopped", "dice_ce"), resume=True)
        if not ranks.leads():
            ranks.serve()
    os._exit(0)  # rank 0 holds the store, as torchrun does elsewhere; its thread may abort a usual exit


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of all trainings by one process and by two; those that one stopped the other has ended."""
    folder = tmp_path_factory.mktemp("ranks")
    everything(folder / "one")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn(rank_main, (port, folder), nprocs=2)
    work(run(folder / "two" / "stopped", "dice_ce"), resume=True)
    return folder


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in read_log(folder / "training_log.jsonl") if "loss" in line]


def mean_gradients(folder: Path) -> list[Tensor]:
    """The optimiser's, of each parameter."""
    return [state["exp_avg"] for state in load_checkpoint(folder / LATEST)["optimiser"]["state"].values()]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_two_ranks_have_the_losses_and_gradients_of_one_process(trained: Path, name: str) -> None:
    one, two = trained / "one" / name, trained / "two" / name
    assert len(losses(one)) == STEPS
    assert losses(two) == pytest.approx(losses(one), abs=1e-5)
    for alone, shared in zip(mean_gradients(one), mean_gradients(two), strict=True):
        torch.testing.assert_close(shared, alone, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("first", ["one", "two"])
def test_a_training_resumes_with_another_number_of_ranks(trained: Path, first: str) -> None:
    whole = trained / "one" / "dice_ce"
    assert losses(trained / first / "stopped") == pytest.approx(losses(whole), abs=1e-5)
