"""Training batches from cases that are really stored."""

from pathlib import Path

import numpy as np
import pytest
import torch
from flipped_bits import flip_bit
from torch.utils.data import DataLoader, Subset

from kneeformer.config import AugmentationSettings, MaskingSettings, TrainingSettings
from kneeformer.data.storage import CaseRecord, Origin, image_file, save_case, structure_points
from kneeformer.engine.batch import Batch
from kneeformer.engine.crops import CropBatches, MaskedBatches, inside_centre, read_region
from kneeformer.engine.losses import IGNORE_INDEX
from kneeformer.errors import KneeformerError
from kneeformer.geometry.aliases import Size
from kneeformer.labels import LabelScheme
from kneeformer.transforms.augmentation import Augmentation

SHAPE = (12, 40, 50)
SMALL = (5, 40, 50)  # thinner than the crop
CROP = (8, 16, 12)
SPACING = (3.0, 0.5, 0.5)
ORIGIN = Origin(settings="", files="")
SCHEME = LabelScheme.from_json({"background": 0, "femur": 1, "tibia": 2})
IGNORING = LabelScheme.from_json({"background": 0, "femur": 1, "ignore": 2})
PLAIN = AugmentationSettings.model_validate(
    {k: 0 for k in AugmentationSettings().model_dump() if k.endswith(("_probability", "_mm"))}
)
BUSY = AugmentationSettings.model_validate(
    {
        "mirror_axes": ("RL",),
        "rotation_degrees": (20, 0, 0),
        "scale": (0.8, 1.2),
        **{k: 1 for k in AugmentationSettings().model_dump() if k.endswith("_probability")},
    }
)


def labels_of(shape: Size) -> np.ndarray:
    """A small femur and a smaller tibia in two corners."""
    labels = np.zeros(shape, np.uint8)
    labels[1:3, 3:6, 40:44] = 1
    labels[-1, -2:, 1:3] = 2
    return labels


def image_of(shape: Size) -> np.ndarray:
    """Two channels: every voxel's number, and its negative."""
    number = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    return np.stack([number, -number])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four stored cases, for reading."""
    made = tmp_path_factory.mktemp("cases")
    for name, shape in (("large", SHAPE), ("thin", SMALL), ("unlabelled", SHAPE), ("empty", SHAPE)):
        labels = np.zeros(shape, np.uint8) if name == "empty" else labels_of(shape)
        points = structure_points(labels, {"femur": labels == 1, "tibia": labels == 2}, seed=0)
        none = name == "unlabelled"
        record = CaseRecord(
            origin=ORIGIN, shape=shape, spacing=SPACING, orientation="SPL", points={} if none else points
        )
        save_case(made, name, image_of(shape), None if none else labels, record, CROP)
    return made


def crops(
    folder: Path,
    *cases: str,
    augmentation: AugmentationSettings = PLAIN,
    scheme: LabelScheme | None = SCHEME,
    batch: int = 4,
    share: float = 0.5,
    seed: int = 0,
    crop: Size = CROP,
    token: Size = (1, 1, 1),
) -> CropBatches:
    settings = TrainingSettings(
        crop=crop,
        batch_size=batch,
        epochs=1,
        steps_per_epoch=1,
        learning_rate=1,
        foreground_share=share,
    )
    changes = Augmentation(augmentation, SPACING, thick_axis=0)
    return CropBatches(
        [folder / case for case in cases], settings, scheme, changes, seed, length=1000, token=token
    )


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_shapes_and_types(folder: Path) -> None:
    batch = crops(folder, "large", "thin")[0]
    assert batch["image"].shape == (4, 2, *CROP) and batch["image"].dtype == torch.float32
    assert batch["labels"].shape == (4, *CROP) and batch["labels"].dtype == torch.int16


@pytest.mark.parametrize("crop", [CROP, (5, 7, 9), (1, 1, 1), (12, 40, 50)])
def test_crops_are_the_stored_voxels(folder: Path, crop: Size) -> None:
    image, labels = image_of(SHAPE), labels_of(SHAPE)
    dataset = crops(folder, "large", crop=crop)
    for step in range(10):
        batch = dataset[step]
        for sample, label in zip(batch["image"].numpy(), batch["labels"].numpy(), strict=True):
            z, y, x = np.unravel_index(int(sample[0, 0, 0, 0]), SHAPE)  # the value is the voxel's number
            cut = (slice(z, z + crop[0]), slice(y, y + crop[1]), slice(x, x + crop[2]))
            assert np.array_equal(sample, image[:, cut[0], cut[1], cut[2]])
            assert np.array_equal(label, labels[cut])


def test_crops_reach_every_corner(folder: Path) -> None:
    dataset = crops(folder, "large", share=0)
    seen = np.zeros(SHAPE, bool)
    for step in range(200):
        seen.ravel()[dataset[step]["image"][:, 0].long().ravel().numpy()] = True
    assert seen.all()


@pytest.mark.parametrize(
    "augmentation",
    [PLAIN, BUSY, BUSY.model_copy(update={"backend": "batchgenerators"})],
    ids=["plain", "augmented", "batchgenerators"],
)
def test_a_step_is_the_same_batch_in_any_order_and_any_process(
    folder: Path, augmentation: AugmentationSettings
) -> None:
    def fresh() -> CropBatches:
        return crops(folder, "large", "thin", augmentation=augmentation)

    forwards = [fresh()[step] for step in range(4)]
    one = fresh()
    backwards = [one[step] for step in (3, 2, 1, 0)][::-1]
    loader = DataLoader(Subset(fresh(), range(4)), batch_size=None, num_workers=2)
    for a, b, c in zip(forwards, backwards, loader, strict=True):
        assert same(a, b) and same(a, c)


def test_steps_and_seeds_differ(folder: Path) -> None:
    dataset = crops(folder, "large")
    assert not same(dataset[0], dataset[1])
    assert not same(dataset[0], crops(folder, "large", seed=1)[0])


def test_the_end_of_the_data(folder: Path) -> None:
    dataset = crops(folder, "large")
    assert len(dataset) == 1000
    with pytest.raises(IndexError):
        dataset[1000]


@pytest.mark.parametrize(("share", "aimed"), [(0.0, 0), (0.25, 1), (0.5, 2), (1.0, 4)])
def test_the_last_of_a_batch_hold_a_structure(folder: Path, share: float, aimed: int) -> None:
    dataset = crops(folder, "large", share=share)
    held = np.array([(dataset[s]["labels"] > 0).any((1, 2, 3)).numpy() for s in range(40)])  # type: ignore[call-overload]
    assert held[:, 4 - aimed :].all()
    assert aimed == 4 or not held[:, : 4 - aimed].all()


def test_structures_are_aimed_at_equally_however_small(folder: Path) -> None:
    dataset = crops(folder, "large", share=1)
    labels = torch.cat([dataset[s]["labels"] for s in range(60)])
    femur, tibia = ((labels == v).flatten(1).any(1).float().mean().item() for v in (1, 2))
    assert femur + tibia == pytest.approx(1, abs=0.01)  # they are too far apart for one crop
    assert 0.4 < femur < 0.6


def test_a_point_inside_is_the_middle_of_its_crop(tmp_path: Path) -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[6, 20, 25] = 1
    record = CaseRecord(
        origin=ORIGIN, shape=SHAPE, spacing=SPACING, orientation="SPL", points={"femur": [(6, 20, 25)]}
    )
    save_case(tmp_path, "dot", image_of(SHAPE), labels, record, CROP)
    batch = crops(tmp_path, "dot", share=1)[0]
    assert batch["labels"][0].nonzero().tolist() == [[4, 8, 6]]


def test_outside_is_uncounted_and_the_image_goes_on(folder: Path) -> None:
    dataset, seen = crops(folder, "thin", share=0), set()
    for image, labels in (pair for step in range(9) for pair in zip(*_of(dataset[step]), strict=True)):
        inside = (labels != IGNORE_INDEX).all(2).all(1)
        first = int(inside.int().argmax())
        seen.add(first)
        assert inside.tolist() == [False] * first + [True] * 5 + [False] * (3 - first)  # 5 slices of 8
        assert (labels[~inside] == IGNORE_INDEX).all()
        assert torch.equal(image[:, 0], image[:, first]) and torch.equal(image[:, 7], image[:, first + 4])
    assert seen == {0, 1, 2, 3}, "anywhere in the crop"


def test_a_volume_of_the_crops_size_is_moved_by_up_to_half_a_token(folder: Path) -> None:
    z, y, x = SHAPE
    cropped = crops(folder, "large", crop=(z, y - 2, x), token=(4, 5, 1), share=1)
    firsts = set()
    for step in range(200):
        for labels in cropped[step]["labels"]:
            inside = labels != IGNORE_INDEX
            slices, rows, columns = inside.any(2).any(1), inside.any(2).any(0), inside.any(1).any(0)
            assert slices.sum() >= z - 1 and rows.sum() >= y - 3 and columns.all()
            firsts.add((slices.tolist().index(True), rows.tolist().index(True)))
    assert {first for first, _ in firsts} == {0, 1}, "moved by one slice"
    assert {first for _, first in firsts} == {0, 1}, "two rows to move in, and one more"


def _of(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    return batch["image"], batch["labels"]


def test_ignored_voxels_are_uncounted(folder: Path) -> None:
    dataset = crops(folder, "large", scheme=IGNORING, share=1)
    values = torch.cat([dataset[s]["labels"].unique() for s in range(20)]).unique().tolist()
    assert values == [IGNORE_INDEX, 0, 1]


def test_without_labels_nothing_counts(folder: Path) -> None:
    assert (crops(folder, "unlabelled")[0]["labels"] == IGNORE_INDEX).all()


def test_a_case_without_structures_is_sampled_anywhere(folder: Path) -> None:
    batch = crops(folder, "empty", share=1)[0]
    assert (batch["labels"] == 0).all() and len(batch["image"][:, 0, 0, 0, 0].unique()) == 4


def test_augmented_labels_are_labels(folder: Path) -> None:
    dataset = crops(folder, "large", "thin", augmentation=BUSY)
    for step in range(5):
        batch = dataset[step]
        assert batch["image"].shape == (4, 2, *CROP) and batch["image"].isfinite().all()
        assert set(batch["labels"].unique().tolist()) <= {IGNORE_INDEX, 0, 1, 2}


def test_reading_a_region_leaves_an_array_in_memory_alone() -> None:
    labels = labels_of(SHAPE)
    before = labels.copy()
    region = read_region(labels, (6, 20, 25), CROP, outside=IGNORE_INDEX)
    region[:] = 9
    assert np.array_equal(labels, before) and region.shape == (1, *CROP) and region.dtype == np.int16


def test_large_labels_stay_in_crops() -> None:
    labels = np.where(labels_of(SHAPE) == 1, 40000, 0).astype(np.int32)
    region = read_region(labels, (1, 3, 41), CROP, outside=IGNORE_INDEX)
    assert set(np.unique(region).tolist()) == {IGNORE_INDEX, 0, 40000}


def test_the_centre_keeps_the_crop_inside() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        shape, crop = rng.integers(1, 30, 3).tolist(), rng.integers(1, 30, 3).tolist()
        wanted = rng.integers(0, shape)
        centre = inside_centre(wanted, tuple(shape), tuple(crop))
        for w, n, c, middle in zip(wanted, shape, crop, centre, strict=True):
            first = middle - c // 2
            if n >= c:
                assert 0 <= first <= n - c and first <= w < first + c
                assert middle == w or first in (0, n - c)
            else:
                assert first <= 0 and first + c >= n and (middle == w or 0 in (first, first + c - n))


@pytest.mark.parametrize("case", ["large", "thin", "unlabelled", "empty"])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_without_a_scheme_labels_tell_inside_from_outside(folder: Path, case: str, share: float) -> None:
    labels = crops(folder, case, scheme=None, share=share)[0]["labels"]
    outside = (labels == IGNORE_INDEX).all(3).all(2)
    assert (outside.sum(1) == (3 if case == "thin" else 0)).all(), "5 slices in a crop of 8"
    assert labels.dtype == torch.int16 and (labels[~outside] == 0).all()


def test_a_scheme_changes_no_image(folder: Path) -> None:
    with_labels, without = crops(folder, "large", "thin"), crops(folder, "large", "thin", scheme=None)
    for step in range(5):
        assert torch.equal(with_labels[step]["image"], without[step]["image"])
        assert torch.equal(with_labels[step]["to_patient"], without[step]["to_patient"])


def test_crops_of_all_planes_are_placed_along_the_patients_axes(folder: Path, tmp_path: Path) -> None:
    record = CaseRecord(origin=ORIGIN, shape=SHAPE, spacing=SPACING, orientation="PSR", points={})
    save_case(tmp_path, "coronal", image_of(SHAPE), None, record, CROP)
    places = ((folder, "large"), (tmp_path, "coronal"))
    batches = [crops(place, case, scheme=None, share=0)[0]["to_patient"] for place, case in places]
    axial, coronal = ((places[:, :, :3], places[:, :, 3]) for places in batches)
    for crop in range(4):
        # slices up, rows back, to the left
        assert axial[0][crop].tolist() == [[0, 0, 0.5], [0, 0.5, 0], [3, 0, 0]]
        assert coronal[0][crop].tolist() == [[0, 0, -0.5], [3, 0, 0], [0, 0.5, 0]]
        x, y, z = axial[1][crop].tolist()
        assert coronal[1][crop].tolist() == [-x, z, y]  # the same place in the volume, which lies otherwise


def test_what_augmentation_brings_in_from_outside_is_uncounted_without_a_scheme(folder: Path) -> None:
    dataset = crops(folder, "unlabelled", augmentation=BUSY, scheme=None, crop=SHAPE)
    labels = torch.cat([dataset[s]["labels"] for s in range(5)])
    assert labels.unique().tolist() == [IGNORE_INDEX, 0]


def test_cases_may_come_from_several_folders(folder: Path, tmp_path: Path) -> None:
    record = CaseRecord(origin=ORIGIN, shape=SHAPE, spacing=SPACING, orientation="SPL", points={})
    save_case(tmp_path, "large", image_of(SHAPE) + 1e6, None, record, CROP)
    first = crops(folder, "large", scheme=None)
    both = CropBatches(
        [folder / "large", tmp_path / "large"], first.settings, None, first.augmentation, seed=0, length=10
    )
    found = torch.cat([both[s]["image"][:, 0, 0, 0, 0] for s in range(10)]) >= 1e6
    assert 10 < int(found.sum()) < 30


TOKEN = (2, 4, 3)  # a grid of 4 x 4 x 4 tokens


def masked(
    folder: Path, kind: str = "token", ratio: float = 0.75, seed: int = 0, thick_axis: int | None = None
) -> MaskedBatches:
    masking = MaskingSettings.model_validate({"kind": kind, "ratio": ratio})
    dataset = crops(folder, "large", "thin", augmentation=BUSY, scheme=None, seed=seed)
    return MaskedBatches(dataset, TOKEN, masking, thick_axis)


@pytest.mark.parametrize("kind", ["token", "block", "slab"])
@pytest.mark.parametrize(("ratio", "hidden"), [(0.5, 32), (0.75, 48), (0.6, 38)])
def test_the_share_of_tokens_is_hidden_in_each_image(
    folder: Path, kind: str, ratio: float, hidden: int
) -> None:
    dataset = masked(folder, kind, ratio)
    for step in range(3):
        visible = dataset[step]["visible"]
        assert visible.shape == (4, 4, 4, 4) and visible.dtype == torch.bool
        assert (~visible).flatten(1).sum(1).tolist() == [hidden] * 4
        assert len({image.numpy().tobytes() for image in visible}) > 1


def test_the_grid_is_that_of_the_tokens_of_the_crop(folder: Path) -> None:
    for token, grid in (((8, 16, 12), (1, 1, 1)), ((1, 8, 4), (8, 2, 3)), ((4, 1, 6), (2, 16, 2))):
        assert MaskedBatches(crops(folder, "large"), token, MaskingSettings()).grid == grid


def test_masking_changes_nothing_else_of_a_batch(folder: Path) -> None:
    dataset = masked(folder)
    batch = dataset[3]
    del batch["visible"]
    assert same(batch, crops(folder, "large", "thin", augmentation=BUSY, scheme=None)[3])
    assert len(dataset) == 1000
    with pytest.raises(IndexError):
        dataset[1000]


@pytest.mark.parametrize("kind", ["token", "block", "slab"])
def test_a_masked_step_is_the_same_batch_in_any_order_and_any_process(folder: Path, kind: str) -> None:
    forwards = [masked(folder, kind)[step] for step in range(3)]
    one = masked(folder, kind)
    backwards = [one[step] for step in (2, 1, 0)][::-1]
    loader = DataLoader(Subset(masked(folder, kind), range(3)), batch_size=None, num_workers=1)
    for a, b, c in zip(forwards, backwards, loader, strict=True):
        assert same(a, b) and same(a, c)


def test_masks_of_steps_and_seeds_differ(folder: Path) -> None:
    first, second, other = masked(folder)[0], masked(folder)[1], masked(folder, seed=1)[0]
    assert not torch.equal(first["visible"], second["visible"])
    assert not torch.equal(first["visible"], other["visible"])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slabs_lie_across_the_thick_axis(folder: Path, axis: int) -> None:
    visible = masked(folder, "slab", 0.5, thick_axis=axis)[0]["visible"]
    shares = visible.float().mean([a + 1 for a in range(3) if a != axis])
    assert torch.equal(shares.sort(1).values, torch.tensor([[0.0, 0, 1, 1]] * 4))


@pytest.mark.parametrize("cutmix", [0.0, 1.0])
def test_shares_of_a_batch_are_its_parts(folder: Path, cutmix: float) -> None:
    """Whoever draws an item, and whatever CutMix takes from items of others."""
    augmentation = BUSY.model_copy(update={"cutmix_probability": cutmix})
    dataset = crops(folder, "large", "thin", augmentation=augmentation)
    batches = []
    for items in (range(4), range(1), range(1, 4)):
        dataset.items = items
        batches.append(MaskedBatches(dataset, TOKEN, MaskingSettings())[7])
    whole, *parts = batches
    assert same(whole, {role: torch.cat([part[role] for part in parts]) for role in whole})


def test_a_batch_is_never_made_of_damaged_voxels(folder: Path) -> None:
    """The training stops with the file's name, in a process that loads batches too."""
    file = image_file(folder, "large")
    flip_bit(file, 8 * (file.stat().st_size // 2))
    batches = crops(folder, "large", crop=SHAPE)
    with pytest.raises(KneeformerError, match=r"large\.b2nd: .*\(damaged\).* kf_preprocess"):
        batches[0]
    with pytest.raises(KneeformerError, match=r"large\.b2nd: .*\(damaged\).* kf_preprocess"):
        next(iter(DataLoader(batches, batch_size=None, num_workers=1)))
