"""A trained model, and the file in which it is shared."""

from pathlib import Path

import pytest
import torch
from prepared import NAME, plan

from kneeformer.data.files import write_text
from kneeformer.engine.checkpoint import save_checkpoint
from kneeformer.tasks.registry import predictive
from kneeformer.workflows.share_model import export_model

FOLDER = Path(NAME) / "kfPlans__3d_vit"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A trained model of two folds, and its file."""
    root = tmp_path_factory.mktemp("one user")
    whole = plan()
    one = whole.model_copy(update={"configurations": {"3d_vit": whole.configuration("3d_vit")}})
    for fold in (0, 1):
        torch.manual_seed(fold)
        network = predictive("segmentation").network(one.dataset, one.configuration("3d_vit"))
        write_text(root / FOLDER / f"fold_{fold}" / "plan.json", one.model_dump_json())
        save_checkpoint(
            root / FOLDER / f"fold_{fold}" / "checkpoint_final.pt", {"network": network.state_dict()}
        )
    file = root / "model.kfm"
    assert export_model(root / FOLDER, file) == {"3d_vit": ["fold_0", "fold_1"]}
    return root / FOLDER, file
