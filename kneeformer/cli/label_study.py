"""kf_label_study: compare ways to learn from few labels and many images without, as a table and a plot."""

import argparse
from contextlib import closing

from kneeformer.cli.console import Bars, command_parser, positive, resume_with, run
from kneeformer.cli.study_options import add_study


def main() -> None:
    parser = command_parser("kf_label_study", __doc__)
    add_study(parser)
    parser.add_argument(
        "--arms",
        nargs="+",
        choices=list("ABCDEF"),
        default=list("ABCD"),
        metavar="ARM",
        help="A from scratch, B averaged weights, C copy-paste, D teacher, E A pre-trained, F D pre-trained "
        "(default: A B C D)",
    )
    parser.add_argument("--epochs", type=int, default=None, metavar="N", help="of each training with labels")
    parser.add_argument(
        "--minutes", type=positive, default=None, metavar="M", help="of each training, pre-training included"
    )
    parser.add_argument(
        "--pretraining_epochs", type=int, default=None, metavar="N", help="epochs of the pre-training"
    )
    parser.add_argument(
        "--pretraining_minutes", type=positive, default=None, metavar="M", help="minutes of the pre-training"
    )
    arguments = parser.parse_args()
    run(
        lambda: _study(arguments), resume_with("finished trainings, and the last checkpoint of a stopped one")
    )


def _study(arguments: argparse.Namespace) -> None:
    from kneeformer.cli.train import TrainingBar
    from kneeformer.paths import Folders
    from kneeformer.studies.label_study import LabelStudy, label_study_markdown, run_label_study

    folders = Folders.from_environment()
    wanted = dict(vars(arguments), dataset=folders.resolve(arguments.dataset))
    wanted |= {key: tuple(dict.fromkeys(wanted[key])) for key in ("labels", "arms", "seeds")}
    with closing(TrainingBar()) as bar:
        rows, folder = run_label_study(folders, LabelStudy(**wanted), bar, Bars())
    print(label_study_markdown(rows))
    print(f"table.csv, table.md and curves.png: {folder}")
