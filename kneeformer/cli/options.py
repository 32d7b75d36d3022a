"""The parser, the argument types and the options that commands share. Quick to import."""

import argparse
import math
import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from kneeformer import __version__

if TYPE_CHECKING:
    from kneeformer.data.dataset import Dataset

Number = TypeVar("Number", int, float)
Value = TypeVar("Value")


class _CommandParser(argparse.ArgumentParser):
    """A parser that answers a shell which completes a command, where argcomplete is installed."""

    def parse_args(self, *arguments: Any, **namespace: Any) -> Any:
        if "_ARGCOMPLETE" in os.environ:
            import argcomplete

            argcomplete.autocomplete(self)
        return super().parse_args(*arguments, **namespace)


def command_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """A parser of a command's arguments, with -h and --version."""
    parser = _CommandParser(name, description=description)
    parser.add_argument(
        "--version",
        action="version",
        version=f"%(prog)s {__version__}",
        help="print the version of kneeformer",
    )
    return parser


def positive(text: str) -> float:
    """Type of an option that must be a number above zero."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return value


def whole_number(least: int, most: float = math.inf) -> Callable[[str], int]:
    """Type of an option that is a whole number from `least` to `most`."""

    def number(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            up_to = "" if most == math.inf else f" to {most}"
            raise argparse.ArgumentTypeError(f"{text} is not a whole number from {least}{up_to}")
        return value

    return number


seed = whole_number(0, 2**32 - 1)


def triple(number: Callable[[str], Number]) -> Callable[[str], tuple[Number, Number, Number]]:
    """Type of an option that is three numbers, (z, y, x), such as 36x320x320."""

    def parse(text: str) -> tuple[Number, Number, Number]:
        try:
            z, y, x = map(number, text.split("x"))
        except ValueError as fault:
            raise argparse.ArgumentTypeError(f"{text!r} is not three numbers, such as 36x320x320") from fault
        return z, y, x

    return parse


def distinct(values: Iterable[Value] | None) -> tuple[Value, ...] | None:
    """Values of a repeated option, each once; None if it is not given."""
    return None if values is None else tuple(dict.fromkeys(values))


def named_dataset(name: str) -> "Dataset":
    """The dataset in kf_raw that a number or folder name stands for."""
    from kneeformer.data.dataset import Dataset
    from kneeformer.paths import Folders

    folders = Folders.from_environment("raw")
    return Dataset.open(folders.raw / folders.resolve(name))


def add_dataset(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", help="dataset number or folder name")


def add_compared(parser: argparse.ArgumentParser, configurations: str, folds: str) -> None:
    """Options for the configurations and folds that a command compares, with their help texts."""
    parser.add_argument("-c", "--configurations", nargs="+", default=None, metavar="C", help=configurations)
    parser.add_argument("-f", "--folds", nargs="+", type=int, default=None, metavar="K", help=folds)


def add_faces(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--faces",
        type=whole_number(4),  # a tetrahedron
        default=None,
        metavar="N",
        help="about how many triangles a surface has at most (default: all)",
    )


def add_processes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-np",
        "--processes",
        type=whole_number(1),
        default=None,
        metavar="N",
        help="cases processed at a time (default: one per core)",
    )


def add_quiet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="print only warnings, errors and the result"
    )


def add_cluster(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cluster",
        default=None,
        metavar="tcp://HOST:8786",
        help="process the cases on the workers of a dask scheduler (default: on this machine)",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-device",
        default=None,
        metavar="cpu|cuda|mps",
        help="device of the network (default: the best available)",
    )


def add_plans(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-p",
        "--plans",
        default="kfPlans",
        metavar="NAME",
        help="name of the plan's file, without .json (default: kfPlans)",
    )
