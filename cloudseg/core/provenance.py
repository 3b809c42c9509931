"""What a run was made with: versions, the code's git revision, the data's digest. For its run.toml."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import platform
import subprocess
from pathlib import Path

MANIFEST = "manifest.json"
"""The file of a data set that names the content of all its shards; it is written last."""
ROOT = Path(__file__).resolve().parents[2]
CODE = ("cloudseg", "preprocess", "env")
"""The folders of ROOT whose content decides what comes out."""
PACKAGES = (
    "tensorflow", "tensorflow-cpu", "keras", "horovod", "segmentation-models", "albumentations",
    "opencv-python-headless", "numpy",
)  # fmt: skip


def made(data: str) -> dict[str, str | bool]:
    """Facts about the shards in the folder `data`, if they are there, the code, and this environment."""
    digest = data_digest(data)
    return {
        **({"data_sha256": digest} if digest else {}),
        **{key: value for key, value in revision().items() if value is not None},
        **versions(),
    }


def data_digest(data: str) -> str | None:
    """sha256 of the manifest in the folder `data`, which names the content of all shards; None if it is not there."""
    manifest = Path(data) / MANIFEST
    return hashlib.sha256(manifest.read_bytes()).hexdigest() if manifest.exists() else None


@functools.cache
def versions() -> dict[str, str]:
    """Python's, and those of the installed packages that compute."""
    installed = {found.metadata["Name"].lower(): found.version for found in importlib.metadata.distributions()}
    return {"python": platform.python_version(), **{name: installed[name] for name in PACKAGES if name in installed}}


def revision() -> dict[str, str | bool | None]:
    """The git revision of the code and whether it was edited since; None for code that is not in git."""
    answers = [
        subprocess.run(["git", "-C", str(ROOT), *command], capture_output=True, text=True, check=False)
        for command in (["rev-parse", "HEAD"], ["status", "--porcelain", *CODE])
    ]
    if any(answer.returncode for answer in answers):
        return {"git_revision": None, "edited": None}
    return {"git_revision": answers[0].stdout.strip(), "edited": bool(answers[1].stdout.strip())}


def changes() -> bytes:
    """What was edited in the code since its git revision, as git diff says it; b"" for nothing, or without git."""
    command = ["git", "-C", str(ROOT), "diff", "HEAD", "--", *CODE]
    answer = subprocess.run(command, capture_output=True, check=False)
    return answer.stdout if answer.returncode == 0 else b""
