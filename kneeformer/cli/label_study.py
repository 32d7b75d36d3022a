"""kf_label_study: compare ways to learn from few labels and many unlabelled scans, as a table and a plot."""

import argparse
from contextlib import closing

from kneeformer.cli.console import Bars, TrainingBar, resume_with, run
from kneeformer.cli.options import (
    add_dataset,
    add_device,
    add_plans,
    command_parser,
    distinct,
    positive,
    seed,
    whole_number,
)


def main() -> None:
    parser = command_parser("kf_label_study", __doc__)
    _add_trainings(parser)
    _add_lengths(parser)
    add_plans(parser)
    add_device(parser)
    arguments = parser.parse_args()
    run(
        lambda: _study(arguments), resume_with("finished trainings, and the last checkpoint of a stopped one")
    )


def _add_trainings(parser: argparse.ArgumentParser) -> None:
    add_dataset(parser)
    parser.add_argument(
        "-c", "--configuration", default="3d_vit", help="configuration to train (default: 3d_vit)"
    )
    parser.add_argument("-f", "--fold", default="0", help="default: 0")
    parser.add_argument(
        "--labels",
        nargs="+",
        type=_label_number,
        default=[5, 10, 20, None],
        metavar="N",
        help="numbers of labelled subjects, or all (default: 5 10 20 all)",
    )
    parser.add_argument(
        "--arms",
        nargs="+",
        choices=list("ABCDE"),
        default=list("ABC"),
        metavar="ARM",
        help="A from scratch; B with averaged weights; C with a teacher; D as A and E as C, pre-trained "
        "(default: A B C)",
    )
    parser.add_argument(
        "--ablations",
        action="store_true",
        help="A and D also with other masking ratios and kinds, targets, depths and decoders",
    )
    parser.add_argument(
        "--seeds",
        nargs="+",
        type=seed,
        default=[0, 1, 2],
        metavar="S",
        help="seeds, each a repetition (default: 0 1 2)",
    )
    parser.add_argument("--pretrain_from", default=None, metavar="DATASET", help="as in kf_train")


def _add_lengths(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--epochs",
        type=whole_number(0),
        default=None,
        metavar="N",
        help="epochs of each training with labels",
    )
    parser.add_argument(
        "--minutes",
        type=positive,
        default=None,
        metavar="M",
        help="minutes of each training, pre-training included",
    )
    parser.add_argument(
        "--pretraining_epochs",
        type=whole_number(0),
        default=None,
        metavar="N",
        help="epochs of the pre-training",
    )
    parser.add_argument(
        "--pretraining_minutes", type=positive, default=None, metavar="M", help="minutes of the pre-training"
    )


def _study(arguments: argparse.Namespace) -> None:
    from kneeformer.paths import Folders
    from kneeformer.studies.label_arms import ABLATIONS
    from kneeformer.studies.label_study import LabelStudy, run_label_study
    from kneeformer.studies.label_table import label_markdown

    folders = Folders.from_environment()
    wanted = dict(vars(arguments), dataset=folders.resolve(arguments.dataset))
    if wanted.pop("ablations"):
        wanted["arms"] = ["A", "D", *arguments.arms, *ABLATIONS]
    other = arguments.pretrain_from
    wanted["pretrain_from"] = None if other is None else folders.resolve(other)
    wanted |= {key: distinct(wanted[key]) for key in ("labels", "arms", "seeds")}
    with closing(TrainingBar()) as bar:
        rows, folder = run_label_study(folders, LabelStudy(**wanted), bar, Bars())
    print(label_markdown(rows))
    print(f"table.csv, table.md and curves.png: {folder}")


def _label_number(text: str) -> int | None:
    """Type of an option that counts labelled subjects: a number, or "all" (None)."""
    if text == "all":
        return None
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text} is neither a number of subjects nor all")
    return int(text)
