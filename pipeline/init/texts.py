"""The files of somebody's working copy, as text and as YAML, and names that are made of what stands there. Only read."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.errors import ConfigError
from pipeline.source.repository import Repository
from pipeline.tools import goyaml

LARGEST = 2 << 20  # bytes of a file that is read
NEVER = {".devcontainer", ".git", ".pipeline", "node_modules", ".gitpod"}


class Texts:
    """The files of the working copy as text, "" for what is too large, no file, or a link."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def text(self, name: str) -> str:
        path = self.root / name
        try:
            if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST:
                return ""
            return path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def values(self, name: str) -> list[Any]:
        """What the documents of a YAML file hold; nothing if it is none (a template, for one)."""
        try:
            return goyaml.values(self.text(name), name)
        except ConfigError:
            return []


def files(root: Path) -> list[str]:
    """The files that git knows or would take, by their names in the working copy."""
    said = Repository(root).run("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = sorted({os.fsdecode(name) for name in said.split(b"\0") if name})
    return [name for name in names if not NEVER & set(PurePosixPath(name).parts)]


def slug(text: str) -> str:
    """`text` as the name of an app: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:53].strip("-") or "app"
