"""Colours and codes of structures by their names, as 3D Slicer and DICOM SEG carry them."""

import re
from dataclasses import dataclass

Colour = tuple[float, float, float]  # red, green, blue, 0 to 1

_BONE: Colour = (0.945, 0.839, 0.569)
_OTHERS: tuple[Colour, ...] = (
    (0.847, 0.396, 0.310),
    (0.502, 0.682, 0.502),
    (0.867, 0.510, 0.396),
    (0.565, 0.933, 0.565),
    (0.565, 0.478, 0.722),
    (0.753, 0.408, 0.345),
)


@dataclass(frozen=True)
class Code:
    """A concept of SNOMED CT."""

    value: str
    meaning: str
    scheme: str = "SCT"

    def __str__(self) -> str:
        """As Slicer writes it."""
        return f"{self.scheme}^{self.value}^{self.meaning}"


_ANATOMY, _TISSUE = Code("123037004", "Anatomical Structure"), Code("85756007", "Tissue")

# The first pattern that a name contains decides; an adjective, as in "patellar tendon", is not a bone.
_KINDS: tuple[tuple[str, Code, Code, Colour], ...] = (
    ("cartilage", _TISSUE, Code("309312004", "Cartilage"), (0.435, 0.722, 0.824)),
    ("menisc", _TISSUE, Code("74135004", "Meniscus"), (0.698, 0.831, 0.949)),
    ("ligament", _TISSUE, Code("52082005", "Ligament"), (0.718, 0.839, 0.827)),
    ("muscle", _TISSUE, Code("71616004", "Muscle"), (0.753, 0.408, 0.345)),
    ("femur", _ANATOMY, Code("71341001", "Femur"), _BONE),
    ("tibia(?!l)", _ANATOMY, Code("12611008", "Tibia"), _BONE),
    ("patella(?!r)", _ANATOMY, Code("64234005", "Patella"), _BONE),
    ("fibula(?!r)", _ANATOMY, Code("87342007", "Fibula"), _BONE),
    ("bones?$", _TISSUE, Code("272673000", "Bone"), _BONE),
)


def codes_of(name: str) -> tuple[Code, Code]:
    """Category and type of a structure by its name; unknown names are tissue.

    Codes and words are those of DICOM's context groups, as in Slicer's "DICOM master list".
    """
    return next(((category, code) for _, category, code, _ in _kinds(name)), (_TISSUE, _TISSUE))


def colour_of(name: str, number: int) -> Colour:
    """The colour of a structure by its name; unknown names get one by their number."""
    return next((colour for *_, colour in _kinds(name)), _OTHERS[number % len(_OTHERS)])


def _kinds(name: str) -> list[tuple[str, Code, Code, Colour]]:
    return [kind for kind in _KINDS if re.search(kind[0], name.casefold())]
