"""Colours and codes of structures by their names, as 3D Slicer and DICOM SEG carry them."""

from dataclasses import dataclass

Colour = tuple[float, float, float]  # red, green, blue, 0 to 1

_BONE: Colour = (0.945, 0.839, 0.569)
_CARTILAGE: Colour = (0.435, 0.722, 0.824)
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
_BONES = {
    "femur": Code("71341001", "Femur"),
    "tibia": Code("12611008", "Tibia"),
    "patella": Code("64234005", "Patella"),
    "fibula": Code("87342007", "Fibula"),
}


def codes_of(name: str) -> tuple[Code, Code]:
    """Category and type of a structure: a bone of the knee, or else tissue."""
    plain = name.casefold()
    bone = next((code for bone, code in _BONES.items() if bone in plain and "cartilage" not in plain), None)
    return (_TISSUE, _TISSUE) if bone is None else (_ANATOMY, bone)


def colour_of(name: str, number: int) -> Colour:
    """The colour of a structure by its name; of others one by their number."""
    plain = name.casefold()
    if "cartilage" in plain:
        return _CARTILAGE
    if any(bone in plain for bone in (*_BONES, "bone")):
        return _BONE
    return _OTHERS[number % len(_OTHERS)]
