"""Which ref is built: what git says of a commit, or GitHub Actions where this very commit is what it runs for."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline.artifacts import Source
from pipeline.errors import PipelineError
from pipeline.source.repository import Repository
from pipeline.tools.tags import Ref

# one process for time, branch and tags; no setting of the user's hides a ref or adds a line
LOG = ("log", "-1", "--no-show-signature", "--decorate=full", "--format=%ct %D")
DECORATED = ("--decorate-refs=HEAD", "--decorate-refs=refs/heads/*", "--decorate-refs=refs/tags/*")
COMMIT = re.compile(r"[0-9a-f]{40}")
PULL = re.compile(r"refs/pull/([0-9]+)/(?:merge|head)")


def ref_of(source: Source, program: str = "git", env: Mapping[str, str] | None = None) -> Ref:
    """The ref of `source`, as its working copy and the environment (`env`, else this process's) tell it. Raises ConfigError as git does.

    GITHUB_REF holds only where GITHUB_SHA is the source's commit: a job may check out something else. Source of the variables:
    https://docs.github.com/actions/reference/workflows-and-actions/variables
    """
    said = Repository(Path(source.path), program).run(*LOG, *DECORATED, source.commit, "--").decode(errors="replace")
    found = read(said, source)
    env = os.environ if env is None else env
    here = env.get("GITHUB_ACTIONS") == "true" and env.get("GITHUB_SHA") == source.commit
    return in_actions(found, env.get("GITHUB_REF", "")) if here else found


def read(said: str, source: Source) -> Ref:
    """The answer of `git log` as LOG asks it: no ref's name has a blank in it (git-check-ref-format), so `, ` parts them."""
    time, _, rest = said.strip().partition(" ")
    names = rest.split(", ") if rest else []
    branch = next((name.removeprefix("HEAD -> refs/heads/") for name in names if name.startswith("HEAD -> refs/heads/")), "")
    tags = tuple(sorted(name.removeprefix("tag: refs/tags/") for name in names if name.startswith("tag: refs/tags/")))
    return Ref(source.commit, branch, tags, 0, int(time), source.label if source.dirty else "")


def in_actions(found: Ref, name: str) -> Ref:
    """The same commit as a workflow sees it: one ref alone, the one that the run was started for."""
    pull = PULL.fullmatch(name)
    branch = name.removeprefix("refs/heads/") if name.startswith("refs/heads/") else ""
    tags = (name.removeprefix("refs/tags/"),) if name.startswith("refs/tags/") else ()
    return Ref(found.commit, branch, tags, int(pull[1]) if pull else 0, found.time, found.dirty)


def is_ancestor(source: Source, program: str = "git") -> Callable[[str, str], bool | None]:
    """Whether a first commit is in the history of a second, as the working copy of `source` knows it; None where it does not know one
    of them, or its history is cut off before it would meet the other (a shallow clone, another repository)."""

    def asked(older: str, newer: str) -> bool | None:
        if not (source.path and COMMIT.fullmatch(older) and COMMIT.fullmatch(newer)):
            return None
        process = Repository(Path(source.path), program).start("merge-base", "--is-ancestor", older, newer)
        process.communicate()
        if process.returncode == 1 and is_shallow(source, program):
            return None
        return {0: True, 1: False}.get(process.returncode)

    return asked


def is_shallow(source: Source, program: str = "git") -> bool:
    """Whether the history of the working copy of `source` is cut off; False if there is no working copy."""
    with contextlib.suppress(PipelineError):
        return Repository(Path(source.path), program).run("rev-parse", "--is-shallow-repository").strip() == b"true"
    return False


def missing(source: Source, commit: str, limit: int, program: str = "git") -> list[str]:
    """The newest commits of the history of `commit` that `source` does not hold, a line each: short id, author, date, subject."""
    words = ("log", f"--max-count={limit}", "--no-show-signature", "--no-decorate", "--format=%h %an, %as: %s")
    with contextlib.suppress(PipelineError):
        said = Repository(Path(source.path), program).run(*words, commit, "--not", source.commit, "--")
        return said.decode(errors="replace").splitlines()
    return []
