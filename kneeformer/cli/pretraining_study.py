"""kf_pretraining_study: measure the effect of pre-training with few labels, as a table and a plot."""

import argparse
from contextlib import closing

from kneeformer.cli.console import Bars, command_parser, positive, resume_with, run
from kneeformer.cli.study_options import add_study


def main() -> None:
    parser = command_parser("kf_pretraining_study", __doc__)
    add_study(parser)
    for stage, which in (("", "each training with labels"), ("pretraining_", "the pre-training")):
        parser.add_argument(
            f"--{stage}epochs", type=int, default=None, metavar="N", help=f"epochs of {which}"
        )
        parser.add_argument(
            f"--{stage}minutes", type=positive, default=None, metavar="M", help=f"minutes of {which}"
        )
    parser.add_argument("--pretrain_from", default=None, metavar="DATASET", help="as in kf_train")
    parser.add_argument(
        "--ablations",
        action="store_true",
        help="also vary masking ratio and kind, target, depth and decoder",
    )
    arguments = parser.parse_args()
    run(
        lambda: _study(arguments), resume_with("finished trainings, and the last checkpoint of a stopped one")
    )


def _study(arguments: argparse.Namespace) -> None:
    from kneeformer.cli.train import TrainingBar
    from kneeformer.paths import Folders
    from kneeformer.studies.pretraining_study import ABLATIONS, PLANNED, Study, run_study, study_markdown

    folders = Folders.from_environment()
    wanted = dict(vars(arguments))
    ablations = wanted.pop("ablations")
    other = arguments.pretrain_from
    wanted["pretrain_from"] = None if other is None else folders.resolve(other)
    wanted |= {key: tuple(dict.fromkeys(wanted[key])) for key in ("labels", "seeds")}
    wanted |= {"dataset": folders.resolve(arguments.dataset)}
    study = Study(**wanted, variants=(PLANNED, *ABLATIONS) if ablations else (PLANNED,))
    with closing(TrainingBar()) as bar:
        rows, folder = run_study(folders, study, bar, Bars())
    print(study_markdown(rows))
    print(f"table.csv, table.md and curves.png: {folder}")
