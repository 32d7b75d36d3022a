"""Left and right in names: what tells a side, and what only looks like one."""

import pytest

from kneeformer.sides import Side, side_in_name, sides_in_name, without_side


@pytest.mark.parametrize(
    ("name", "side", "rest"),
    [
        ("12_L", "left", "12"),
        ("R_12", "right", "12"),
        ("12L", "left", "12"),
        ("12r", "right", "12"),
        ("P12R", "right", "P12"),
        ("12 left", "left", "12"),
        ("12.L", "left", "12"),
        ("12(R)", "right", "12"),
        ("P1_left_00m", "left", "P1_00m"),
        ("knee-RIGHT-2", "right", "knee-2"),
        ("right-P1_V2", "right", "P1_V2"),
        ("sub-01_hemi-L", "left", "sub-01_hemi"),
        ("Left12", "left", "12"),
        ("12_LK", "left", "12"),
        ("12_rt", "right", "12"),
        ("FemurLeft", "left", "Femur"),
        ("LFemur", "left", "Femur"),
        ("femurL", "left", "femur"),
        ("LeftFemoralCartilage", "left", "FemoralCartilage"),
        ("MRIRight", "right", "MRI"),
        ("lfemur", "left", "femur"),
        ("RKNEE", "right", "KNEE"),
        ("KNEELEFT", "left", "KNEE"),
        ("righttibia", "right", "tibia"),
        ("Femur links", "left", "Femur"),
        ("12_rechts", "right", "12"),
        ("rechtes Knie", "right", "Knie"),
        ("genou_gauche", "left", "genou"),
        ("genou_droit", "right", "genou"),
        ("Femur li", "left", "Femur"),
        ("FemurRe", "right", "Femur"),
        ("12_re", "right", "12"),
        ("femore_sx", "left", "femore"),
        ("tibia destra", "right", "tibia"),
        ("rodilla_izq", "left", "rodilla"),
        ("joelho_direito", "right", "joelho"),
        ("L", "left", "L"),
        ("L_left", "left", "L_left"),
        ("Fu\u0308\u00dfe_R", "right", "F\u00fc\u00dfe"),
    ],
)
def test_a_side(name: str, side: Side, rest: str) -> None:
    assert (side_in_name(name), without_side(name)) == (side, rest)


@pytest.mark.parametrize(
    "name",
    [
        *("patella", "lateral", "tibial_lateral", "medial", "meniscus_medial", "cartilage", "ligament"),
        *("Li_Wei", "Re_12", "Li12"),
        *("leftover", "bright", "upright", "cleft", "kneel", "Hippocampus", "Lara_12", "Richard", "hallux"),
        *("ACL", "PCL", "MCL", "LCL", "ACLR", "LM", "MM", "LPS", "RAS", "ALL", "RGB", "FLAIR"),
        *("L3", "L5_S1", "R2star", "R1rho", "LT4", "T1", "T2w", "3rd", "XRay", "control_1", "12", "", "_12_"),
        *("re1", "rescan", "lipoma", "Rectus", "sxr", "index"),
        *("M\u00fcller", "f\u00fcr", "fu\u0308r", "vol", "vol1"),
    ],
)
def test_no_side(name: str) -> None:
    assert (sides_in_name(name), without_side(name)) == ([], name)


def test_both_sides_are_none() -> None:
    assert sides_in_name("left_and_right_knee") == ["left", "right"]
    assert side_in_name("left_and_right_knee") is None


@pytest.mark.parametrize("name", ["12{}", "{}_12", "a.{}.b", "{}Femur", "Knee{}07"])
def test_both_sides_of_a_person_leave_one_name(name: str) -> None:
    for left, right in (("Left", "Right"), ("L", "R")):
        if name != "Knee{}07" or left == "Left":  # L07 is a name, not a side
            assert without_side(name.format(left)) == without_side(name.format(right)) != name.format(left)
