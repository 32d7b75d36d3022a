"""A real scheduler and two real workers on this machine: the same answers as here, whoever dies."""

import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from prepared import LABELLED, SHAPE, Place, plan
from torch import Tensor, nn

from kneeformer.data import cluster
from kneeformer.data.cluster import require_shared, working_on
from kneeformer.data.dataset import Dataset
from kneeformer.data.disk import DiskError
from kneeformer.data.images import read_image, write_image
from kneeformer.data.processes import run_each
from kneeformer.data.storage import StoredCase, open_case
from kneeformer.errors import KneeformerError
from kneeformer.geometry.grid import Grid
from kneeformer.workflows.inputs import Sources
from kneeformer.workflows.predict import Predictor
from kneeformer.workflows.predict_folder import predict_folder
from kneeformer.workflows.preprocess import preprocess_cases

pytest.importorskip("distributed", reason="dask's scheduler is not installed")
pytestmark = pytest.mark.slow

DASK = (sys.executable, "-m", "dask")


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a scheduler with two workers of one thread."""
    file = tmp_path_factory.mktemp("dask") / "scheduler.json"
    here = Path(__file__).parent  # whence the workers import what the tests send them
    modules = os.pathsep.join((str(here), str(here.parent), os.environ.get("PYTHONPATH", "")))
    worker = ("worker", "--nthreads", "1", "--no-nanny")
    begun = [
        subprocess.Popen(
            [*DASK, *command, "--scheduler-file", str(file), "--no-dashboard"],
            env={**os.environ, "PYTHONPATH": modules},
            cwd=file.parent,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for command in (("scheduler", "--host", "127.0.0.1", "--port", "0"), worker, worker)
    ]
    from distributed import Client

    while not file.exists():
        time.sleep(0.1)
    with Client(scheduler_file=str(file), set_as_default=False) as client:
        client.wait_for_workers(2, timeout="60s")
        yield client.scheduler.address
    for process in begun:
        process.kill()
        process.wait()


def work(order: object) -> object:
    """Square a number, or fail as told."""
    if isinstance(order, int):
        return order * order
    if order == "user fault":
        raise KneeformerError("knee.nrrd: cannot be read; export it again")
    if order == "full":
        raise DiskError("/prepared/K01.b2nd: the disk is full; free some space")
    raise ValueError(order)


def process_id(_: object) -> int:
    time.sleep(0.2)
    return os.getpid()


def die_once(marker: Path) -> int:
    """Kill the worker the first time; answer the second."""
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def test_answers_come_in_the_order_of_the_items_and_faults_are_their_items_alone(scheduler: str) -> None:
    told = []
    orders: list[object] = [3, "user fault", 4, "other fault"]
    with working_on(scheduler):
        answers = run_each(work, orders, ["a", "b", "c", "d"], 1, told.append)
    assert answers[0] == 9 and answers[2] == 16
    assert str(answers[1]) == "knee.nrrd: cannot be read; export it again"
    assert isinstance(answers[3], ValueError)
    assert told == [1, 2, 3, 4]


def test_work_is_shared_by_processes_that_are_not_ours(scheduler: str) -> None:
    with working_on(scheduler):
        workers = set(run_each(process_id, range(6), [""] * 6, 1))
    assert len(workers) == 2 and os.getpid() not in workers


def test_a_full_disk_ends_the_work(scheduler: str) -> None:
    with working_on(scheduler), pytest.raises(DiskError, match="disk is full"):
        run_each(work, ["full", *range(5)], [""] * 6, 1)


def test_no_scheduler_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_ANSWERS_WITHIN_S", 1)
    with pytest.raises(KneeformerError, match="no scheduler answers"), working_on("tcp://127.0.0.1:9"):
        pass


def test_a_port_that_never_answers_is_no_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as that of a dashboard, which waits to be asked."""
    monkeypatch.setattr(cluster, "_ANSWERS_WITHIN_S", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(KneeformerError, match="no scheduler answers"), working_on(address):
            pass


def test_a_folder_that_workers_do_not_see_is_refused_before_the_work(scheduler: str, tmp_path: Path) -> None:
    with working_on(scheduler):
        require_shared(tmp_path, output=tmp_path / "new")
        assert not list((tmp_path / "new").iterdir())
        with pytest.raises(KneeformerError, match=r"elsewhere: .*not seen by the workers tcp://.*, tcp://"):
            require_shared(tmp_path, tmp_path / "elsewhere")
    require_shared(tmp_path / "elsewhere")  # of no interest where no cluster works


def test_work_after_the_block_is_here_again(scheduler: str) -> None:
    with working_on(scheduler):
        pass
    assert run_each(work, [2], ["two"], 1) == [4]


def test_prepared_cases_are_those_of_this_machine(scheduler: str, place: Place, tmp_path: Path) -> None:
    voxels = np.arange(math.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    for case in LABELLED:
        write_image(place.raw / "imagesTr" / f"{case}_0000.nrrd", voxels, Grid(SHAPE, (1, 1, 1)))
        write_image(place.raw / "labelsTr" / f"{case}.nrrd", voxels % 2, Grid(SHAPE, (1, 1, 1)))
    dataset, configuration = Dataset.open(place.raw), plan().configuration("3d_vit")
    prepared: dict[str, list[StoredCase]] = {}
    for name, address in (("here", None), ("elsewhere", scheduler)):
        folder = tmp_path / name
        with working_on(address):
            preprocess_cases(
                dataset.training_cases(), dataset, configuration, folder, 1, lambda *_: None, verify=False
            )
        prepared[name] = [open_case(folder, case) for case in LABELLED]
    for ours, theirs in zip(prepared["here"], prepared["elsewhere"], strict=True):
        assert ours.labels is not None and theirs.labels is not None
        assert np.array_equal(ours.image[:], theirs.image[:])
        assert np.array_equal(ours.labels[:], theirs.labels[:])


class Thresholds(nn.Module):
    """Foreground where a voxel is above 100."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, image: Tensor, to_patient: Tensor) -> Tensor:
        return torch.cat([100 - image, image - 100], 1)


def test_a_folder_is_predicted_as_on_this_machine(scheduler: str, tmp_path: Path) -> None:
    voxels = np.arange(math.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    for number in range(3):
        write_image(tmp_path / "in" / f"K{number}_0000.nrrd", voxels + 10 * number, Grid(SHAPE, (1, 1, 1)))
    predictor = Predictor(plan(), plan().configuration("3d_vit"), (Thresholds().eval(),))
    predicted = {}
    for name, address in (("here", None), ("elsewhere", scheduler)):
        with working_on(address):
            assert predict_folder(predictor, Sources(tmp_path / "in"), tmp_path / name, lambda *_: None) == []
        predicted[name] = [read_image(tmp_path / name / f"K{number}.nrrd").array for number in range(3)]
    assert np.array_equal(predicted["here"], predicted["elsewhere"])
    assert 0 < np.mean(predicted["here"]) < 1


def test_killed_workers_lose_nothing_while_one_is_left(
    scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last test: afterwards neither worker nor scheduler is left."""
    from distributed import Client

    monkeypatch.setattr(cluster, "_BACK_WITHIN_S", 1)
    monkeypatch.setattr(cluster, "_ANSWERS_WITHIN_S", 3)
    with working_on(scheduler):
        answers = run_each(die_once, [tmp_path / "died", *(tmp_path for _ in range(4))], [""] * 5, 1)
        assert all(isinstance(answer, int) for answer in answers) and len(set(answers)) == 1
        with pytest.raises(KneeformerError, match="no worker is left; start some with: dask worker tcp://"):
            run_each(die_once, [tmp_path / "died again"], [""], 1)
        with Client(scheduler, set_as_default=False) as client:
            os.kill(client.run_on_scheduler(os.getpid), signal.SIGKILL)
        with pytest.raises(KneeformerError, match="the scheduler is gone"):
            run_each(work, [1], [""], 1)
