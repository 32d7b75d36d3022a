"""The training loop on a network of a few weights: seeds, going on after a kill, the clock, the best,
fine-tuning.
"""

import re
import signal
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from faulty_disks import largest_file
from torch import Tensor, nn
from torch.utils.data import Dataset

from kneeformer.config import FineTuningSettings, TrainingSettings
from kneeformer.data.disk import DiskError
from kneeformer.engine.batch import Batch
from kneeformer.engine.checkpoint import load_checkpoint, save_checkpoint
from kneeformer.engine.log import read_log
from kneeformer.engine.loop import ProgressEvent, train
from kneeformer.engine.training_run import TrainingRun, Validation
from kneeformer.errors import KneeformerError
from kneeformer.paths import BEST, FINAL, LATEST

pytestmark = pytest.mark.slow

SETTINGS = TrainingSettings(
    crop=(2, 4, 4),
    batch_size=2,
    epochs=4,
    steps_per_epoch=3,
    learning_rate=0.01,
    warmup_steps=2,
    precision="fp32",
)


class Noise(Dataset[Batch]):
    """Random images; the target is a tenth of the image, or the NaN of a chosen step."""

    def __init__(self, length: int, broken_step: int = -1, broken_value: float = float("nan")) -> None:
        self.length, self.broken_step, self.broken_value = length, broken_step, broken_value

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, step: int) -> Batch:
        if step >= self.length:
            raise IndexError(step)
        generator = torch.Generator().manual_seed(step)
        image = torch.randn(2, 1, 2, 4, 4, generator=generator)
        target = image / 10 if step != self.broken_step else image * self.broken_value
        return {"image": image, "target": target}


class Regression:
    """Squared error; the score is read from a list, one per epoch, or made from the error."""

    def __init__(self, scores: Iterable[float] = ()) -> None:
        self.given = iter(scores)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        return (network(batch["image"]) - batch["target"]).square().mean()

    def validate(self, network: nn.Module, batches: Iterable[Batch]) -> Validation:
        assert not network.training
        errors = [float(self.loss(network, batch)) for batch in batches]
        error = sum(errors) / len(errors)
        return Validation(error, {"quality": next(self.given, 1 / (1 + error))})


class Killed(Exception):
    """Stands for the end of the process: nothing of the loop runs after it."""


def run(folder: Path, **changes: object) -> TrainingRun:
    """A run whose network has convolution, normalisation and dropout, made from a fixed seed."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1), nn.GroupNorm(1, 4), nn.GELU(), nn.Dropout(0.2), nn.Conv3d(4, 1, 1)
    )
    made = TrainingRun(
        network=network,
        objective=Regression(),
        training=Noise(10_000),
        validation=Noise(3),
        settings=SETTINGS,
        folder=folder,
        device=torch.device("cpu"),
        seed=5,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def losses(folder: Path) -> list[tuple[int, float]]:
    return [
        (line["step"], line["loss"]) for line in read_log(folder / "training_log.jsonl") if "loss" in line
    ]


def killed_at(step: int, made: TrainingRun, resume: bool = False) -> None:
    def watch(moment: ProgressEvent) -> None:
        if moment.step == step:
            raise Killed

    with pytest.raises(Killed):
        train(made, resume, watch)


def weights(folder: Path, name: str = FINAL) -> dict[str, Tensor]:
    found: dict[str, Tensor] = load_checkpoint(folder / name)["network"]
    return found


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_it_learns_and_leaves_its_files(tmp_path: Path) -> None:
    state = train(run(tmp_path, settings=SETTINGS.model_copy(update={"epochs": 15})))
    assert state.step == 45
    found = [loss for _, loss in losses(tmp_path)]
    assert len(found) == 45 and sum(found[-9:]) < 0.5 * sum(found[:9])
    logs = {"training.log", "training_log.jsonl", "progress.png"}
    assert {p.name for p in tmp_path.iterdir()} == {BEST, LATEST, FINAL} | logs


def test_the_log_holds_each_step_once_and_each_epoch(tmp_path: Path) -> None:
    train(run(tmp_path))
    lines = read_log(tmp_path / "training_log.jsonl")
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 13))
    assert [line["step"] for line in lines if "scores" in line] == [3, 6, 9, 12]
    rates = [line["learning_rate"] for line in lines if "loss" in line]
    assert rates[:2] == pytest.approx([0.005, 0.01]) and rates[2] < 0.01 and rates[-1] < 0.001


def test_same_seed_same_losses_and_weights(tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        train(run(tmp_path / name, seed=seed))
    assert losses(tmp_path / "a") == losses(tmp_path / "b") != losses(tmp_path / "c")
    assert equal(weights(tmp_path / "a"), weights(tmp_path / "b"))


def test_the_callers_random_state_does_not_matter(tmp_path: Path) -> None:
    train(run(tmp_path / "a"))
    made = run(tmp_path / "b")
    torch.rand(100)
    train(made, watch=lambda _: torch.rand(3))
    assert losses(tmp_path / "a") == losses(tmp_path / "b")


def test_workers_change_nothing(tmp_path: Path) -> None:
    short = SETTINGS.model_copy(update={"epochs": 2})
    train(run(tmp_path / "a", settings=short))
    train(run(tmp_path / "b", settings=short, workers=1))
    assert losses(tmp_path / "a") == losses(tmp_path / "b")


class DeafNoise(Noise):
    """An error where the process that makes a batch would end at an interrupt."""

    def __getitem__(self, step: int) -> Batch:
        handlers = {signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        if handlers != {signal.SIG_IGN}:
            raise KneeformerError(f"would end: {handlers}")
        return super().__getitem__(step)


def test_processes_that_prepare_batches_leave_interrupts_to_the_loop(tmp_path: Path) -> None:
    """Ctrl-C reaches them too; without them the loop cannot end its step, and keeps nothing of it."""
    short = SETTINGS.model_copy(update={"epochs": 1})
    train(run(tmp_path, settings=short, training=DeafNoise(10_000), workers=1))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a training that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    train(run(folder))
    return folder


@pytest.mark.parametrize("step", [4, 6, 7, 11])
def test_going_on_after_a_kill_equals_a_training_without_one(whole: Path, tmp_path: Path, step: int) -> None:
    killed_at(step, run(tmp_path / "killed"))
    assert not (tmp_path / "killed" / FINAL).exists()
    state = train(run(tmp_path / "killed"), resume=True)
    assert state.step == 12
    assert losses(tmp_path / "killed") == losses(whole)
    assert equal(weights(tmp_path / "killed"), weights(whole))
    assert equal(weights(tmp_path / "killed", BEST), weights(whole, BEST))


@pytest.mark.parametrize("steps", [(1,), (2, 4), (3,), (8, 12)])
def test_going_on_after_an_interrupt_loses_no_step(
    whole: Path, tmp_path: Path, steps: tuple[int, ...]
) -> None:
    """The third step ends an epoch, the twelfth the training."""
    for number, step in enumerate(steps):
        interrupted_at(step, run(tmp_path / "stopped"), resume=number > 0)
        assert load_checkpoint(tmp_path / "stopped" / LATEST)["state"]["step"] == step
        assert not (tmp_path / "stopped" / FINAL).exists()
    seen: list[int] = []
    train(run(tmp_path / "stopped"), True, lambda moment: seen.append(moment.step))
    assert seen == list(range(steps[-1] + 1, 13)), "no step is done again"
    assert course_of(tmp_path / "stopped") == course_of(whole)
    for name in (FINAL, BEST, LATEST):
        assert equal(weights(tmp_path / "stopped", name), weights(whole, name))


@pytest.mark.parametrize("step", [2, 5, 6, 8])
def test_checkpoints_by_the_clock_lose_no_more_steps_than_it_ticked(
    whole: Path, tmp_path: Path, step: int
) -> None:
    """A clock that always has run out: each step is kept, but the last of an epoch until it is validated."""
    killed_at(step, run(tmp_path, keep_seconds=0))
    kept = step - 1  # the kill comes before the step is kept
    assert load_checkpoint(tmp_path / LATEST)["state"]["step"] == kept
    seen: list[int] = []
    train(run(tmp_path), True, lambda moment: seen.append(moment.step))
    assert seen == list(range(kept + 1, 13))
    assert course_of(tmp_path) == course_of(whole)
    for name in (FINAL, BEST, LATEST):
        assert equal(weights(tmp_path, name), weights(whole, name))


def test_training_log_says_when_what_happened(tmp_path: Path) -> None:
    interrupted_at(4, run(tmp_path, objective=Regression([0.25])))
    train(run(tmp_path, objective=Regression([0.5, 0.25, 0.75])), resume=True)
    lines = (tmp_path / "training.log").read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  step \d+, ", line) for line in lines)
    said = [line[21:] for line in lines]
    losses = r"step 3, 25\.0%: loss \d\.\d{4}, validation loss \d\.\d{4}, "
    assert re.fullmatch(rf"{losses}score 0\.250 \(quality 0\.250\); the best so far", said[0])
    assert said[1:3] == [
        "step 4, 33.3%: interrupted; checkpoint_latest.pt is of this step",
        "step 4, 33.3%: resumed",
    ]
    assert [number for number, line in enumerate(said) if line.endswith("the best so far")] == [0, 3, 5]
    assert said[-1] == "step 12, 100.0%: trained; checkpoint_final.pt is of this step"
    with pytest.raises(KneeformerError):
        train(run(tmp_path, training=Noise(10_000, broken_step=1)))
    last = (tmp_path / "training.log").read_text().splitlines()[-1]
    assert last[21:].startswith(f"ended: {tmp_path}: the loss is not a number at step 2")


AVERAGED = SETTINGS.model_copy(update={"averaged_share": 0.5})


def test_averages_of_weights_survive_kills_and_interrupts_to_the_bit(tmp_path: Path) -> None:
    train(run(tmp_path / "whole", settings=AVERAGED))
    stopped = tmp_path / "stopped"
    interrupted_at(4, run(stopped, settings=AVERAGED))
    killed_at(8, run(stopped, settings=AVERAGED), resume=True)
    train(run(stopped, settings=AVERAGED), resume=True)
    assert course_of(stopped) == course_of(tmp_path / "whole")
    for name in (FINAL, BEST, LATEST):
        assert equal(weights(stopped, name), weights(tmp_path / "whole", name))
    raw = [load_checkpoint(folder / LATEST)["unaveraged"] for folder in (stopped, tmp_path / "whole")]
    assert equal(*raw) and not equal(raw[0], weights(stopped))


def test_averages_learn_nothing_else_and_are_what_is_validated(tmp_path: Path) -> None:
    train(run(tmp_path / "without"))
    train(run(tmp_path / "with", settings=AVERAGED))
    assert losses(tmp_path / "with") == losses(tmp_path / "without")
    assert equal(load_checkpoint(tmp_path / "with" / LATEST)["unaveraged"], weights(tmp_path / "without"))
    assert course_of(tmp_path / "with") != course_of(tmp_path / "without")  # other validation scores


def interrupted_at(step: int, made: TrainingRun, resume: bool = False) -> None:
    """As by Ctrl-C, three times in a row."""

    def watch(moment: ProgressEvent) -> None:
        if moment.step == step:
            for _ in range(3):
                signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # another test may have left its own
    try:
        with pytest.raises(KeyboardInterrupt):
            train(made, resume, watch)
    finally:
        signal.signal(signal.SIGINT, before)


def course_of(folder: Path) -> list[dict[str, object]]:
    """The log without its clock."""
    lines = read_log(folder / "training_log.jsonl")
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def test_a_disk_that_fills_leaves_the_checkpoint_before(whole: Path, tmp_path: Path) -> None:
    folder, before = tmp_path / "full", b""
    with ExitStack() as full:

        def watch(moment: ProgressEvent) -> None:
            nonlocal before
            if moment.step == 5:
                before = (folder / LATEST).read_bytes()
                full.enter_context(largest_file(2000))

        with pytest.raises(DiskError, match=r"checkpoint_\w+\.pt: the file is larger than this disk"):
            train(run(folder), watch=watch)
    assert (folder / LATEST).read_bytes() == before
    assert not list(folder.glob(".*"))
    train(run(folder), resume=True)
    assert course_of(folder) == course_of(whole)
    assert equal(weights(folder), weights(whole))


def test_two_kills(whole: Path, tmp_path: Path) -> None:
    killed_at(5, run(tmp_path / "killed"))
    killed_at(8, run(tmp_path / "killed"), resume=True)
    train(run(tmp_path / "killed"), resume=True)
    assert losses(tmp_path / "killed") == losses(whole)
    assert equal(weights(tmp_path / "killed"), weights(whole))


def test_the_best_is_not_forgotten_by_a_kill(tmp_path: Path) -> None:
    killed_at(7, run(tmp_path, objective=Regression([0.2, 0.9])))
    best = weights(tmp_path, BEST)
    state = train(run(tmp_path, objective=Regression([0.5, 0.6])), resume=True)
    assert state.best == 0.9 and equal(weights(tmp_path, BEST), best)
    assert not equal(weights(tmp_path), best)


def test_the_best_has_the_highest_score(tmp_path: Path) -> None:
    state = train(run(tmp_path, objective=Regression([0.2, 0.7, 0.7, 0.1])))
    best = load_checkpoint(tmp_path / BEST)
    assert state.best == 0.7 and best["state"]["step"] == 6


def test_nothing_to_go_on_with(tmp_path: Path) -> None:
    with pytest.raises(KneeformerError, match="no such checkpoint"):
        train(run(tmp_path), resume=True)


def test_a_finished_training_that_goes_on_is_over(tmp_path: Path) -> None:
    train(run(tmp_path))
    before = weights(tmp_path)
    assert train(run(tmp_path), resume=True).step == 12
    assert equal(weights(tmp_path), before) and len(losses(tmp_path)) == 12


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_before_it_spoils_the_weights(tmp_path: Path, value: float) -> None:
    broken = Noise(10_000, broken_step=5, broken_value=value)  # the last step of the second epoch
    told = (
        r"the loss is not a number at step 6: its batch holds NaN or infinite values \(target\).*kf_preproc"
    )
    with pytest.raises(KneeformerError, match=told):
        train(run(tmp_path, training=broken))
    latest = load_checkpoint(tmp_path / LATEST)
    assert latest["state"]["step"] == 3
    assert all(w.isfinite().all() for w in latest["network"].values())
    train(run(tmp_path), resume=True)
    assert (tmp_path / FINAL).is_file()


class Greedy(Regression):
    """Wants more memory than any machine has, as NumPy, torch on a CPU, or a GPU says it."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        match self.kind:
            case "numpy":
                np.empty(2**50)
            case "cpu":
                torch.empty(2**50)
            case "cuda":
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB")
            case "workers":
                raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
        raise RuntimeError("The size of tensor a (2) must match")


@pytest.mark.parametrize("kind", ["numpy", "cpu", "cuda", "workers"])
def test_memory_that_runs_out_is_a_sentence_that_names_the_settings_to_lower(
    tmp_path: Path, kind: str
) -> None:
    with pytest.raises(KneeformerError) as fault:
        train(replace(run(tmp_path), objective=Greedy(kind)))
    assert str(fault.value) == (
        f"{tmp_path}: memory ran out on cpu, where a batch is 2 x 2 x 4 x 4 voxels; lower "
        f"training.batch_size or training.crop, in the plan or with --set, or train while nothing else runs; "
        f"the last checkpoint is kept"
    )


class Faulty(Noise):
    """Batches of a file that cannot be read."""

    def __getitem__(self, step: int) -> Batch:
        raise KneeformerError("K01.b2nd: damaged;\n  prepare it again")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_fault_of_a_file_is_told_without_a_traceback(tmp_path: Path, workers: int) -> None:
    with pytest.raises(KneeformerError) as caught:
        train(run(tmp_path, training=Faulty(9), workers=workers))
    assert str(caught.value) == "K01.b2nd: damaged;\n  prepare it again"


def test_another_fault_of_torch_stays_a_bug(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="must match"):
        train(replace(run(tmp_path), objective=Greedy("bug")))


def test_it_ends_by_the_clock(tmp_path: Path) -> None:
    endless = SETTINGS.model_copy(update={"epochs": 1, "steps_per_epoch": 10**6})
    shares: list[float] = []
    made = run(tmp_path, settings=endless, minutes=0.01, ends_by_epochs=False, training=Noise(10**6))
    train(made, watch=lambda m: shares.append(m.share))
    lines = read_log(tmp_path / "training_log.jsonl")
    rates = [line["learning_rate"] for line in lines if "loss" in line]
    assert (tmp_path / FINAL).is_file()
    assert shares == sorted(shares) and shares[-1] == 1
    assert rates[0] == pytest.approx(0.005) and 0.005 < rates[1] <= 0.01  # the warm-up
    assert rates[2:] == sorted(rates[2:], reverse=True) and rates[-1] < 0.5 * rates[2]


def test_it_ends_by_epochs_or_by_the_clock_whichever_comes_first(tmp_path: Path) -> None:
    assert train(run(tmp_path / "epochs", minutes=10)).step == 12
    assert train(run(tmp_path / "clock", minutes=1e-6)).step < 12


def test_the_clock_counts_what_was_spent_before_a_kill(tmp_path: Path) -> None:
    endless = SETTINGS.model_copy(update={"epochs": 10**6})
    killed_at(7, run(tmp_path, settings=endless, minutes=10))
    spent = load_checkpoint(tmp_path / LATEST)["state"]["seconds"]
    assert spent > 0
    state = train(run(tmp_path, settings=endless, minutes=spent / 60), resume=True)
    assert state.step == 6  # its time was over when it was killed


def test_the_watcher_is_told_of_each_step(tmp_path: Path) -> None:
    moments: list[ProgressEvent] = []
    train(run(tmp_path), watch=moments.append)
    assert [m.step for m in moments] == list(range(1, 13))
    assert [m.share for m in moments] == pytest.approx([n / 12 for n in range(1, 13)])
    assert moments[2].scores == {} and set(moments[3].scores) == {"quality"}
    assert [(m.step, m.loss) for m in moments] == losses(tmp_path)


def test_checkpoints_for_prediction_hold_no_optimiser(tmp_path: Path) -> None:
    train(run(tmp_path))
    assert "optimiser" in load_checkpoint(tmp_path / LATEST)
    assert all("optimiser" not in load_checkpoint(tmp_path / name) for name in (BEST, FINAL))


LONG = SETTINGS.model_copy(update={"epochs": 20})
PRETRAINED = frozenset({"0.weight", "0.bias", "1.weight", "1.bias"})
NEW = frozenset({"4.weight", "4.bias"})


def fine_tuned(folder: Path, frozen: int = 4, pretrained: frozenset[str] = PRETRAINED) -> TrainingRun:
    """A run of 60 steps whose first convolution and normalisation were learnt elsewhere."""
    tuning = FineTuningSettings(learning_rate=0.004, frozen_steps=frozen, warmup_steps=2)
    settings = LONG.model_copy(update={"fine_tuning": tuning})
    return run(folder, settings=settings, pretrained=pretrained)


def history(made: TrainingRun) -> list[dict[str, Tensor]]:
    """The weights before the first step and after each."""

    def now() -> dict[str, Tensor]:
        return {name: weight.detach().clone() for name, weight in made.network.state_dict().items()}

    found = [now()]
    train(made, watch=lambda _: found.append(now()))
    return found


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("frozen", [0, 1, 4, 6])
def test_pretrained_weights_stay_bit_by_bit_while_frozen_and_then_learn(tmp_path: Path, frozen: int) -> None:
    found = history(fine_tuned(tmp_path, frozen))
    assert len(found) == 61
    for step, (before, after) in enumerate(pairwise(found)):
        assert moved(before, after) == (NEW if step < frozen else NEW | PRETRAINED)


def test_their_first_steps_are_those_of_their_own_rate(tmp_path: Path) -> None:
    # Adam's first step of a vector, which does not decay, is the rate itself, up or down
    found = history(fine_tuned(tmp_path))
    for name, step, rate in (("4.bias", 0, 0.01 / 2), ("1.bias", 4, 0.004 / 2), ("1.weight", 4, 0.004 / 2)):
        change = (found[step + 1][name] - found[step][name]).abs()
        assert change.tolist() == pytest.approx([rate] * len(change), rel=1e-3)


def test_the_log_tells_the_rate_of_new_weights(tmp_path: Path) -> None:
    train(run(tmp_path / "plain", settings=LONG))
    train(fine_tuned(tmp_path / "tuned"))
    plain, tuned = (
        [line["learning_rate"] for line in read_log(tmp_path / name / "training_log.jsonl") if "loss" in line]
        for name in ("plain", "tuned")
    )
    assert plain == tuned


@pytest.mark.parametrize(
    ("frozen", "step"),
    [
        (4, 4),
        (4, 5),
        (4, 8),
        (6, 7),
        (2, 4),
    ],  # goes on from step 3 or 6: before, at or after the frozen steps
)
def test_fine_tuning_that_goes_on_after_a_kill_equals_one_without(
    tmp_path: Path, frozen: int, step: int
) -> None:
    train(fine_tuned(tmp_path / "whole", frozen))
    killed_at(step, fine_tuned(tmp_path / "killed", frozen))
    train(fine_tuned(tmp_path / "killed", frozen), resume=True)
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    for name in (FINAL, BEST):
        assert equal(weights(tmp_path / "killed", name), weights(tmp_path / "whole", name))


def test_a_network_that_is_pretrained_as_a_whole_does_not_wait(tmp_path: Path) -> None:
    found = history(fine_tuned(tmp_path, pretrained=PRETRAINED | NEW))
    for before, after in pairwise(found):
        assert moved(before, after) == PRETRAINED | NEW
    for name in ("1.bias", "4.bias"):
        change = (found[1][name] - found[0][name]).abs()
        assert change.tolist() == pytest.approx([0.004 / 2] * len(change), rel=1e-3)


def test_a_network_that_is_pretrained_as_a_whole_goes_on_after_a_kill(tmp_path: Path) -> None:
    train(fine_tuned(tmp_path / "whole", pretrained=PRETRAINED | NEW))
    killed_at(4, fine_tuned(tmp_path / "killed", pretrained=PRETRAINED | NEW))
    train(fine_tuned(tmp_path / "killed", pretrained=PRETRAINED | NEW), resume=True)
    assert equal(weights(tmp_path / "killed"), weights(tmp_path / "whole"))


def test_settings_of_fine_tuning_change_nothing_where_nothing_is_pretrained(tmp_path: Path) -> None:
    train(run(tmp_path / "plain", settings=LONG))
    train(fine_tuned(tmp_path / "tuned", pretrained=frozenset()))
    assert equal(weights(tmp_path / "plain"), weights(tmp_path / "tuned"))


def test_pretrained_weights_without_settings_of_fine_tuning_learn_like_new_ones(tmp_path: Path) -> None:
    train(run(tmp_path / "plain"))
    train(run(tmp_path / "tuned", pretrained=PRETRAINED))
    assert equal(weights(tmp_path / "plain"), weights(tmp_path / "tuned"))


def test_a_parameter_that_is_not_to_learn_does_not(tmp_path: Path) -> None:
    made = fine_tuned(tmp_path)
    made.network.get_parameter("4.bias").requires_grad_(False)
    found = history(made)
    assert moved(found[0], found[-1]) == {"4.weight"} | PRETRAINED


def test_figures_are_logged_beside_the_scores_and_do_not_choose(tmp_path: Path) -> None:
    class Figured(Regression):
        def validate(self, network: nn.Module, batches: Iterable[Batch]) -> Validation:
            return replace(super().validate(network, batches), figures={"PSNR": 31.5})

    train(run(tmp_path / "plain", objective=Regression([0.2, 0.7, 0.1, 0.1])))
    state = train(run(tmp_path / "figured", objective=Figured([0.2, 0.7, 0.1, 0.1])))
    assert state.best == 0.7 and load_checkpoint(tmp_path / "figured" / BEST)["state"]["step"] == 6
    lines = {
        name: [line for line in read_log(tmp_path / name / "training_log.jsonl") if "scores" in line]
        for name in ("plain", "figured")
    }
    assert [line["figures"] for line in lines["figured"]] == [{"PSNR": 31.5}] * 4
    assert not any("figures" in line for line in lines["plain"])


class Spoilt(Regression):
    """A loss, or a gradient, or the weights themselves that are no numbers at a chosen call."""

    def __init__(self, call: int, what: str) -> None:
        super().__init__()
        self.call, self.what, self.calls = call, what, 0

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        found = super().loss(network, batch)
        self.calls += network.training
        if not network.training or self.calls != self.call:
            return found
        if self.what == "loss":
            return found * torch.nan
        if self.what == "gradient":
            found.register_hook(lambda gradient: gradient * torch.inf)
            return found
        with torch.no_grad():
            next(network.parameters())[0] = torch.inf
        return super().loss(network, batch)


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("loss", r"the loss is not a number at step 5; lower training\.learning_rate.*resume with --c"),
        ("gradient", r"the gradient is not a number at step 5; lower training\.learning_rate.*--c"),
        ("weights", r"the loss is not a number at step 5: weights are not before it \(0\.weight\); lower"),
    ],
)
def test_what_diverged_is_told_by_its_cause_and_not_kept(tmp_path: Path, what: str, told: str) -> None:
    with pytest.raises(KneeformerError, match=told):
        train(run(tmp_path, objective=Spoilt(5, what)))
    assert load_checkpoint(tmp_path / LATEST)["state"]["step"] == 3
    assert all(tensor.isfinite().all() for tensor in weights(tmp_path, LATEST).values())
    train(run(tmp_path), resume=True)
    train(run(tmp_path / "whole"))
    assert equal(weights(tmp_path), weights(tmp_path / "whole"))


def test_weights_that_break_in_the_last_step_of_an_epoch_reach_no_checkpoint(tmp_path: Path) -> None:
    made = run(tmp_path)

    def watch(moment: ProgressEvent) -> None:
        if moment.step == 6:
            next(made.network.parameters()).data[0] = torch.nan

    with pytest.raises(KneeformerError, match=r"weights are not numbers after step 6 \(0\.weight\)"):
        train(made, watch=watch)
    assert load_checkpoint(tmp_path / LATEST)["state"]["step"] == 3


def damaged(folder: Path, **changes: object) -> TrainingRun:
    """A training that stopped after an epoch, with entries of its checkpoint changed or, where None, gone."""
    killed_at(4, run(folder))
    content = load_checkpoint(folder / LATEST) | changes
    save_checkpoint(folder / LATEST, {key: value for key, value in content.items() if value is not None})
    return run(folder)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"optimiser": None}, "holds no optimiser"),
        ({"optimiser": {}}, "its optimiser is damaged"),
        ({"optimiser": 3}, "holds no optimiser"),
        ({"optimiser": {"state": {0: 1}, "param_groups": []}}, "its optimiser is"),
        ({"state": None}, "does not say how far it is"),
        ({"state": {"step": -1, "seconds": 0.0, "best": 0.0}}, "does not say how far it is"),
        ({"state": {"step": 3, "seconds": float("nan"), "best": 0.0}}, "does not say how far it is"),
        ({"state": {"step": "many"}}, "does not say how far it is"),
        ({"network": {"a": torch.ones(1)}}, "of another network than the plan describes"),
    ],
    ids=str,
)
def test_a_checkpoint_that_cannot_be_gone_on_with(
    tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    made = damaged(tmp_path, **changes)
    with pytest.raises(KneeformerError, match=rf"checkpoint_latest\.pt: {told}.*--overwrite"):
        train(made, resume=True)


@pytest.mark.parametrize("key", ["exp_avg", "exp_avg_sq", "step"])
@pytest.mark.parametrize("value", [torch.ones(7), torch.tensor(float("nan")), None])
def test_moments_of_another_shape_or_that_are_no_numbers(
    tmp_path: Path, key: str, value: Tensor | None
) -> None:
    killed_at(4, run(tmp_path))
    content = load_checkpoint(tmp_path / LATEST)
    kept = content["optimiser"]["state"][0]
    kept[key] = torch.full_like(kept[key], torch.nan) if value is not None and not value.ndim else value
    save_checkpoint(tmp_path / LATEST, content)
    with pytest.raises(
        KneeformerError, match=r"its optimiser is (damaged|of another network, or not finite)"
    ):
        train(run(tmp_path), resume=True)


def test_a_decay_that_is_changed_on_the_way_holds(tmp_path: Path) -> None:
    """Not that of the checkpoint, which no plan says any more."""
    killed_at(4, run(tmp_path))
    decayed = SETTINGS.model_copy(update={"weight_decay": 5.0})
    train(run(tmp_path, settings=decayed), resume=True)
    train(run(tmp_path / "light"))
    heavy, light = weights(tmp_path)["0.weight"], weights(tmp_path / "light")["0.weight"]
    assert heavy.norm() < 0.9 * light.norm()
