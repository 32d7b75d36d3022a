"""kf_train: train one fold of a configuration, then validate it on whole cases."""

import argparse
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kneeformer.cli.console import Bars, TrainingBar, run
from kneeformer.cli.options import (
    add_dataset,
    add_device,
    add_plans,
    add_quiet,
    command_parser,
    positive,
    seed,
    whole_number,
)
from kneeformer.cli.rank import work_as_rank

if TYPE_CHECKING:
    from kneeformer.paths import Folders
    from kneeformer.workflows.request import Request


def main() -> None:
    parser = command_parser("kf_train", __doc__)
    _add_fold(parser)
    _add_length(parser)
    _add_start(parser)
    _add_settings(parser)
    add_plans(parser)
    add_device(parser)
    add_quiet(parser)
    arguments, since = parser.parse_args(), time.time()
    run(lambda: _train(arguments), lambda typed: _resume_command(arguments, since, typed), arguments.quiet)


def _add_fold(parser: argparse.ArgumentParser) -> None:
    add_dataset(parser)
    parser.add_argument("configuration", help="such as 3d_vit")
    parser.add_argument(
        "fold", help="0 or fold0, 1 or fold1, ...; or all: train on every case, without validation"
    )
    parser.add_argument("--c", dest="resume", action="store_true", help="resume a stopped training")
    parser.add_argument(
        "--val", dest="validate_only", action="store_true", help="only validate a trained fold"
    )
    parser.add_argument("--overwrite", action="store_true", help="train a finished or stopped fold again")


def _add_length(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--epochs",
        type=whole_number(0),
        default=None,
        metavar="N",
        help="number of epochs (default: the plan's)",
    )
    parser.add_argument(
        "--minutes",
        type=positive,
        default=None,
        metavar="M",
        help="end after M minutes, or after --epochs if both are given; the learning rate falls to zero",
    )


def _add_start(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no_pretraining",
        action="store_true",
        help="start from random initialisation, even if the plan has a previous stage",
    )
    parser.add_argument(
        "--no_unlabelled",
        action="store_true",
        help="train on labels alone, even if the plan has a teacher",
    )
    parser.add_argument(
        "-pretrained_weights",
        type=Path,
        default=None,
        metavar="FILE",
        help="checkpoint to start from; tensors of the same name and shape are loaded",
    )
    parser.add_argument(
        "--pretrain_from",
        default=None,
        metavar="DATASET",
        help="second dataset whose images are also used in pre-training",
    )


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seed", type=seed, default=None, metavar="S", help="seed of the training (default: 0)"
    )
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting for this run, e.g. training.learning_rate=3e-4 or training.crop=[24,128,128]; may be "
        "repeated; recorded in its plan.json",
    )
    parser.add_argument(
        "--tensorboard", action="store_true", help="write losses and scores for TensorBoard (tensorboardX)"
    )
    parser.add_argument(
        "-num_gpus",
        type=whole_number(1),
        default=1,
        metavar="N",
        help="GPUs that share each batch, one process each (with -device cpu: N processes)",
    )


def _resume_command(arguments: argparse.Namespace, since: float, typed: list[str]) -> tuple[str, list[str]]:
    from kneeformer.workflows.fold_state import resume_command

    folders, request = _request(arguments)
    typed = ["kf_train", *typed[1:]]  # torchrun starts a module
    return resume_command(request.folder(folders), request, since, typed)


def _request(arguments: argparse.Namespace) -> "tuple[Folders, Request]":
    from kneeformer.paths import Folders
    from kneeformer.workflows.request import Request

    folders = Folders.from_environment()
    other = None if arguments.pretrain_from is None else folders.resolve(arguments.pretrain_from)
    wanted = dict(vars(arguments), settings=tuple(arguments.settings), pretrain_from=other)
    wanted["dataset"] = folders.resolve(arguments.dataset)
    del wanted["quiet"]
    return folders, Request(**wanted)


def _train(arguments: argparse.Namespace) -> None:
    from kneeformer.networks import ranks

    folders, request = _request(arguments)
    if ranks.started():
        work_as_rank(request.device, lambda device: _lead(folders, replace(request, device=device)))
    elif request.num_gpus == 1:
        _lead(folders, request)
    else:
        from kneeformer.workflows.contradictions import refuse_contradictions
        from kneeformer.workflows.torchrun import run_ranks

        refuse_contradictions(folders, request)
        ranks.device_of(request.device, request.num_gpus)
        sys.exit(run_ranks("kneeformer.cli.train", sys.argv[1:], request.num_gpus))


def _lead(folders: "Folders", request: "Request") -> None:
    from kneeformer.reporting.score_tables import terminal_table
    from kneeformer.workflows.contradictions import refuse_contradictions
    from kneeformer.workflows.train import train_fold

    refuse_contradictions(folders, request)
    with closing(TrainingBar()) as bar:
        outcome = train_fold(folders, request, bar, Bars())
    if outcome.review:
        print(outcome.review)
    if outcome.summary is not None:
        print(terminal_table(outcome.summary))
    elif not outcome.review:
        print("all cases were used for training: none is left to validate on")
    print(f"results: {outcome.folder}")


if __name__ == "__main__":
    main()
