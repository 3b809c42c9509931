"""Provenance of a run, for its run.toml: versions of Python and packages, git revision, digest of the data."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import platform
import subprocess
from pathlib import Path

MANIFEST = "manifest.json"
"""The file of a data set that lists the digests of all its shards; it is written last."""
ROOT = Path(__file__).resolve().parents[2]
CODE = ("cloudseg", "preprocess", "env")
"""The folders of ROOT whose content affects the results."""
PACKAGES = (
    "tensorflow", "tensorflow-cpu", "keras", "horovod", "segmentation-models", "albumentations",
    "opencv-python-headless", "numpy",
)  # fmt: skip


def made(data: str) -> dict[str, str | bool]:
    """Digest of the shards in the folder `data`, if it has a manifest, git revision of the code, and versions."""
    digest = data_digest(data)
    return {
        **({"data_sha256": digest} if digest else {}),
        **{key: value for key, value in revision().items() if value is not None},
        **versions(),
    }


def data_digest(data: str) -> str | None:
    """sha256 (hex) of the manifest in the folder `data`; None without a manifest."""
    manifest = Path(data) / MANIFEST
    return hashlib.sha256(manifest.read_bytes()).hexdigest() if manifest.exists() else None


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that affect the results."""
    installed = {package.metadata["Name"].lower(): package.version for package in importlib.metadata.distributions()}
    return {"python": platform.python_version(), **{name: installed[name] for name in PACKAGES if name in installed}}


def revision() -> dict[str, str | bool | None]:
    """The git revision of the code and whether the code differs from it; None for both without git."""
    answers = [
        subprocess.run(["git", "-C", str(ROOT), *command], capture_output=True, text=True, check=False)
        for command in (["rev-parse", "HEAD"], ["status", "--porcelain", *CODE])
    ]
    if any(answer.returncode for answer in answers):
        return {"git_revision": None, "edited": None}
    return {"git_revision": answers[0].stdout.strip(), "edited": bool(answers[1].stdout.strip())}


def changes() -> bytes:
    """The output of git diff for the code against its git revision; b"" without changes or without git."""
    command = ["git", "-C", str(ROOT), "diff", "HEAD", "--", *CODE]
    answer = subprocess.run(command, capture_output=True, check=False)
    return answer.stdout if answer.returncode == 0 else b""
