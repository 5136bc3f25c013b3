"""A build hook: an editable install finds the checkout in any locale.

The file by which it names the checkout's folder is read in the locale's encoding, so that before
Python 3.12.4 a folder such as "Bücher" kept ``LC_ALL=C python`` from starting at all.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


def in_ascii(paths: str) -> bytes:
    """Return a ``.pth`` file's folders as a line of code, in which other letters are escaped."""
    return f"import sys; sys.path.extend({paths.splitlines()!a})\n".encode("ascii")


def row(name: str, content: bytes) -> str:
    """Return a file's line in a wheel's RECORD."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(content)}"


def rewrite(wheel: Path) -> None:
    """Write a wheel anew, with its ``.pth`` files in ASCII."""
    with ZipFile(wheel) as old:
        files = {info: old.read(info) for info in old.infolist()}
    rows = {}
    for info, content in files.items():
        if info.filename.endswith(".pth"):
            files[info] = in_ascii(content.decode("utf-8"))
            rows[info.filename] = row(info.filename, files[info])
    for info, content in files.items():
        if info.filename.endswith(".dist-info/RECORD"):
            lines = content.decode("utf-8").splitlines()
            lines = [rows.get(line.split(",")[0], line) for line in lines]
            files[info] = ("\n".join(lines) + "\n").encode("utf-8")
    new = wheel.with_suffix(".new")
    with ZipFile(new, "w") as archive:
        for info, content in files.items():
            archive.writestr(info, content)
    shutil.move(new, wheel)


class AnyLocale(BuildHookInterface[Any]):
    """Rewrite the wheel of an editable install, and no other."""

    def finalize(self, version: str, _: dict[str, Any], artifact_path: str) -> None:
        """Act after the build."""
        if version == "editable":
            rewrite(Path(artifact_path))
