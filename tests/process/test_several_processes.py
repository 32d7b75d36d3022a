"""kf_train -num_gpus 2 on a CPU: a killed process ends it with its name, and --c goes on to the scores."""

import signal
import time

import psutil
from workplace import TINY, Workplace, finish, log_lines, losses, read_json, wait_for

TRAIN = ("kf_train", 1, "3d_vit", 0, "-device", "cpu")


def test_a_killed_rank_is_named_and_the_training_goes_on(fresh: Workplace) -> None:
    fold = fresh.model / "fold_0"
    process = fresh.start(*TRAIN, *TINY, "--epochs", 100, "-num_gpus", 2)
    wait_for(lambda: len(log_lines(fold)) > 5)
    (second,) = [c for c in psutil.Process(process.pid).children() if c.environ().get("RANK") == "1"]
    second.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    said = finish(process, code=1)
    assert time.monotonic() - killed < 60, "seconds, on a machine that has nothing else to do"
    (named,) = [line for line in said.splitlines() if "error" in line]
    assert f"rank 1 (process {second.pid}) was killed (SIGKILL)" in named
    assert "--c -device cpu -num_gpus 2" in said
    assert not list(fold.glob(".*unfinished*"))
    fresh.run(*TRAIN, "--c", "--epochs", 3, "-num_gpus", 2)
    assert len(losses(fold)) == 12 and (fold / "validation" / "summary.json").is_file()
    held_out = read_json(fresh.preprocessed / "splits_final.json")[0]["val"]
    assert {p.stem for p in (fold / "validation").glob("*.nrrd")} == set(held_out), (
        "each rank has predicted one"
    )
