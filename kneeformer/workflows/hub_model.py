"""Download of a model's file from the Hugging Face Hub."""

import re
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from kneeformer.errors import KneeformerError

_NAME = re.compile(r"(\w[\w.-]*/\w[\w.-]*?)(?:@([\w./-]+))?(?::([\w./-]+\.kfm))?")


@dataclass(frozen=True)
class HubName:
    """OWNER/NAME[@REVISION][:FILE.kfm].

    Attributes:
        revision: commit, tag or branch; None takes the newest commit of main.
        file: None takes the only .kfm file.
    """

    repository: str
    revision: str | None = None
    file: str | None = None

    @classmethod
    def parse(cls, text: str) -> "HubName | None":
        """Parse a name; None where the text is a path, such as MODELS/KNEE.kfm."""
        match = _NAME.fullmatch(text)
        if match is None or match[1].endswith(".kfm") or Path(text).exists():
            return None
        return cls(match[1], match[2], match[3])


def fetch_model(name: HubName, folder: Path) -> tuple[Path, str]:
    """Download a model's file into a folder, unchecked.

    Returns:
        The file, and its full name, in which the revision is a commit: it always gives the same file.

    Raises:
        KneeformerError: huggingface_hub is not installed; no such repository, revision or file; several
            files; or the hub cannot be reached.
    """
    hub = _library()
    try:
        found = hub.HfApi().model_info(name.repository, revision=name.revision)
        file = _file(name, [sibling.rfilename for sibling in found.siblings or ()])
        path = hub.hf_hub_download(name.repository, file, revision=found.sha, local_dir=folder)
    except KneeformerError:
        raise
    except Exception as fault:  # of this and other libraries, differing between versions
        said = " ".join(str(fault).split())[:300]
        raise KneeformerError(
            f"{name.repository}: not installed: the hub says: {said or type(fault).__name__}; check name, "
            f"revision and connection, or download the file and give its path"
        ) from fault
    return Path(path), f"{name.repository}@{found.sha}:{file}"


def _file(name: HubName, files: list[str]) -> str:
    """The model's file among those of a repository. Raises KneeformerError."""
    models = [file for file in files if file.endswith(".kfm")]
    wanted = models if name.file is None else [file for file in models if file == name.file]
    if len(wanted) == 1:
        return wanted[0]
    there = ", ".join(models) or "none"
    need = "name one" if models else "make one with kf_export_model"
    raise KneeformerError(
        f"{name.repository}: not installed: model files there: {there}; {need}, as OWNER/NAME:FILE.kfm"
    )


def _library() -> ModuleType:
    try:
        import huggingface_hub
    except ImportError as fault:
        raise KneeformerError(
            "models of the hub need huggingface_hub: pip install 'kneeformer[hub]'; or download the file and "
            "give its path"
        ) from fault
    module: ModuleType = huggingface_hub
    return module
