"""Options of the studies of trainings with few labels."""

import argparse

from kneeformer.cli.console import add_device, add_plans, seed


def add_study(parser: argparse.ArgumentParser) -> None:
    """The trainings that are compared: dataset, configuration and fold, numbers of labels, seeds."""
    parser.add_argument("dataset", help="dataset number or folder name")
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
        "--seeds", nargs="+", type=seed, default=[0, 1, 2], metavar="S", help="default: 0 1 2"
    )
    add_plans(parser)
    add_device(parser)


def _label_number(text: str) -> int | None:
    """Type of an option that counts labelled subjects: a number, or "all" (None)."""
    if text == "all":
        return None
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text} is neither a number of subjects nor all")
    return int(text)
