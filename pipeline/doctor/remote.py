"""The git remote that a clean commit is pushed to first: does it answer, and does it know our key."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

from pipeline.doctor.verdict import LIMIT, Verdict, ok
from pipeline.errors import Transient
from pipeline.source.repository import Repository, environment
from pipeline.stage import Site
from pipeline.tools import git


def look(via: str, site: Site) -> Iterator[Verdict]:
    """One `git ls-remote`. Raises what `pipeline.tools.git.remote_error` says of its failure."""
    named = site.remote(via)
    url = git.remote_url(named, site.app)
    where = f"{via} (git)"
    repository = Repository(site.root, site.tool("git"))
    try:
        done = subprocess.run(
            repository.argv(*git.list_ref(url, "HEAD")),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=environment(git.environment(named)),
            timeout=LIMIT - 1,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Transient(f"git remote {via} ({url}) does not answer", mend="is it up, and is the address right?") from error
    if done.returncode:
        raise git.remote_error(done.stderr.decode(errors="replace"), f"git remote {via} ({url})")
    head = git.read_listed(done.stdout)
    yield ok(where, "remote", f"{url} answers" + (f", its HEAD is {head[:7]}" if head else " and is empty"))
