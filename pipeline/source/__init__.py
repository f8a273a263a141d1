"""The working copy as git sees it: a fast look that names everything that would travel by one tree id."""

from __future__ import annotations

from pipeline.source.look import Look, look, not_files, snapshot
from pipeline.source.repository import Repository

__all__ = ["Look", "Repository", "look", "not_files", "snapshot"]
