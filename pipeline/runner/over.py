"""What a release goes over: the commit that is live is in the history of what is released, or whoever releases names it."""

from __future__ import annotations

import re

from pipeline.artifacts import Artifact, Release, Source
from pipeline.errors import ConfigError
from pipeline.stage import Site, Standing
from pipeline.tools import git, git_ref

NAME = re.compile(r"[0-9a-f]{7,40}")
SHOWN = 5  # commits that are named


class Refused(ConfigError):
    """A release that would undo what somebody else released: nothing was touched."""


def check_dirty(site: Site, source: Source) -> None:
    """Raise ConfigError if the working copy has changes that are not committed, and this environment takes commits only."""
    if source.dirty and site.dirty == "refuse":
        raise ConfigError(
            f"the working copy is not what commit {source.commit[:7]} says, and this environment takes commits only (dirty: refuse)",
            mend="git status; git commit or git stash, then run again",
        )


def check(standing: Standing, source: Source, site: Site, over: str = "", *, again: bool = False) -> str:
    """Return what is to be told of what is live, as `standing` has it, and gone over; "" if there is nothing to tell.

    Raise Refused if `source` was taken back, unless it is released `again` on purpose; or if a release of it would take commits away that
    are live, or that cannot be known: unless `over` names the very commit that is live. One of a commit that nobody noted is gone over.
    """
    live = standing.live()
    if isinstance(live, Release) and live.source.id == source.id and not over:
        return ""
    if not again and (taken := next((each for each in standing.taken if each.source == source.id), None)):
        mend = "release a commit that puts it right; if this one is to be tried again: inv release --again"
        raise Refused(f"{taken}: it is not released again unasked", mend=mend)
    if over:
        return _named(live, over, standing)
    if not isinstance(live, Release):
        return ""
    if not live.source.commit:
        return f"{_called(live)} is live, of a commit that nobody noted: it is released over"
    holds = live.source.commit == source.commit or git_ref.is_ancestor(source, site.tool("git"))(live.source.commit, source.commit)
    if not holds:
        raise _refusal(holds, live, source, site, standing)
    if live.source.dirty:
        was = f"{_called(live)} is live, with changes that were never committed{_who(standing)}"
        return f"{was}: {source.label} is without them"
    return ""


def _named(live: Artifact | None, over: str, standing: Standing) -> str:
    """Raise Refused unless what is live is what `over` names: somebody may have released meanwhile."""
    if isinstance(live, Release) and _is_named(live.source, over):
        return f"{_called(live)} is released over{_who(standing)}, as --over {over} says"
    if not isinstance(live, Release):
        raise Refused(f"--over {over}, but nothing is live", mend="inv release, without --over")
    raise Refused(
        f"--over {over}, but {_called(live)} is live{_who(standing)}",
        mend=f"look at it (inv status); if that is to be gone over: --over {_name(live.source)}",
    )


def _is_named(source: Source, over: str) -> bool:
    return over == source.label or (bool(NAME.fullmatch(over)) and source.commit.startswith(over))


def _refusal(holds: bool | None, live: Release, source: Source, site: Site, standing: Standing) -> Refused:
    program = site.tool("git")
    over = f"if it is meant all the same: --over {_name(live.source)}"
    was = f"{_called(live)} is live{_who(standing)}"
    if holds is None:
        shallow = git_ref.is_shallow(source, program)
        fetch = ["git fetch --unshallow"] if shallow else ["git fetch --all", *_fetched(live.source.commit, site)]
        return Refused(
            f"{was}, and this working copy does not know whether {source.label} holds it",
            cause="the clone is shallow: its history is cut off" if shallow else f"there is no commit {live.source.commit[:12]} here",
            mend=f"{', or, if no branch holds it, '.join(fetch)}, then run again; {over}",
        )
    lost = git_ref.missing(source, live.source.commit, SHOWN, program)
    return Refused(
        f"{was}, and {source.label} does not hold it: its commits would be taken away",
        cause="\n".join(lost),
        mend="take them in (git pull, git rebase), then run again\n"
        f"or go back to an older release: inv rollback, inv rollback --to COMMIT; {over}",
    )


def _fetched(commit: str, site: Site) -> list[str]:
    """How a commit is had that a release left in a git remote of the site."""
    return [f"git fetch {git.remote_url(remote, site.app)} {git.kept_ref(commit)}" for remote in site.remotes.values()]


def _called(live: Release) -> str:
    return f"{live.source.label or 'an unknown commit'} (revision {live.revision} of {live.namespace}/{live.name})"


def _name(source: Source) -> str:
    return source.label if source.dirty else source.commit[:7]


def _who(standing: Standing) -> str:
    return "".join([f", by {standing.by}" if standing.by else "", f", since {standing.since}" if standing.since else ""])
