"""Left and right in the names of cases and of structures."""

import re
import unicodedata
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Side = Literal["left", "right"]

_LEFT = (
    *("left", "l", "lt", "lk"),
    *("links", "linke", "linker", "linkes", "li"),
    *("gauche", "sinistra", "sinistro", "sx", "izquierda", "izquierdo", "izq", "esquerda", "esquerdo"),
)
_RIGHT = (
    *("right", "r", "rt", "rk"),
    *("rechts", "rechte", "rechter", "rechtes", "re"),
    *("droit", "droite", "destra", "destro", "dx", "derecha", "derecho", "dcha", "direita", "direito"),
)
_SIDES: dict[str, Side] = {**dict.fromkeys(_LEFT, "left"), **dict.fromkeys(_RIGHT, "right")}
_NO_SIDES_AT_FIRST = ("Li", "Re")
_BONES = "ankle|femur|fibula|hip|humerus|knee|patella|radius|tibia|ulna"
_GROWN_TOGETHER = re.compile(rf"(left|right|l|r)({_BONES})|({_BONES})(left|right)", re.IGNORECASE)

# Between a small and a capital letter, before a capital and a small one, and between digits and letters.
_WORD_ENDS = re.compile(r"(?<=[^\W\d_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=\d)(?=\D)|(?<=\D)(?=\d)")


@dataclass(frozen=True)
class Whose:
    """The person that a case is of, and the side of the body."""

    person: str
    side: Side | None

    def faces(self, other: "Whose") -> bool:
        """True for the left and the right of one person."""
        return self.person == other.person and {self.side, other.side} == {"left", "right"}


@dataclass(frozen=True)
class _Word:
    """Part of a name: the separators before it, its side, and the rest."""

    separators: str
    side: Side | None
    rest: str


def side_in_name(name: str) -> Side | None:
    """The one side in a name: "R_12" and "FemurRight" are right; "12" and "L_R" have none.

    A side is a word (left, L, LT, LK, left knee, links, li, gauche, sinistra, sx, izquierda, esquerda, and
    their opposites) between separators, a change of case or digits: "12 left", "12.L", "12L", "LFemur",
    "femurL"; or grown together with the name of a bone: "lfemur", "KNEELEFT". A letter before digits is no
    side: "L3" is a vertebra, "R2star" a map. "Li_Wei" begins with a surname, "Re_12" with a prefix.

    In doubt, a name has a side. A side that is none merges two subjects or forgoes one augmentation, which
    costs little. A side that is missed lets one person both train and validate, or mirrors left structures
    onto right names, unnoticed. Bones of a completion are mirrored by their sides; `sides` in dataset.json
    overrides a name.
    """
    found = set(sides_in_name(name))
    return found.pop() if len(found) == 1 else None


def sides_in_name(name: str) -> list[Side]:
    """All sides in a name, as `side_in_name` finds them: both of "left_and_right"."""
    return [word.side for word in _words(name) if word.side is not None]


def without_side(name: str) -> str:
    """A name without the words of its side: "12" from "12_L" and "12R"; "L" remains "L"."""
    words = _words(name)
    kept = [word for word in words if word.rest]
    if not kept or all(word.side is None for word in words):
        return name
    return kept[0].rest + "".join(word.separators + word.rest for word in kept[1:])


def _words(name: str) -> list[_Word]:
    pieces = re.split(r"([\W_]+)", unicodedata.normalize("NFC", name))
    found: list[_Word] = []
    for separators, joined in zip(["", *pieces[1::2]], pieces[::2], strict=True):
        words = [w for w in _WORD_ENDS.split(joined) if w]
        for i, (word, after) in enumerate(pairwise([*words, ""])):
            numbered = len(word) <= 2 and after[:1].isdigit()
            no_side = numbered or (not found and word in _NO_SIDES_AT_FIRST)
            found.append(_word("" if i else separators, word, no_side))
    return found


def _word(separators: str, text: str, no_side: bool) -> _Word:
    """A word and its side."""
    if (both := _GROWN_TOGETHER.fullmatch(text)) is not None:
        return _Word(separators, _SIDES[(both[1] or both[4]).lower()], both[2] or both[3])
    side = None if no_side else _SIDES.get(text.lower())
    return _Word(separators, side, "" if side else text)
