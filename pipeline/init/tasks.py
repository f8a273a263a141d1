"""The task `init`: a look at the repository, the files of a first release, and what to do next."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from invoke import Context, task

from pipeline.dry import shown_by
from pipeline.say import say

ABOUT = {
    "app": "what the application is called; else as its git remote or folder is",
    "build": "the Dockerfile that is built (several with commas), or flake.nix",
    "deploy": "the chart, the kustomization, the folder or file of manifests that is deployed",
    "namespace": "the namespace of the release",
    "registry": "the registry that images are pushed to, by its name in the site file",
    "cluster": "the cluster, by its name in the site file",
    "site": "the site file, relative to the working copy; else config/site.yml",
    "dry-run": "only show what would be written",
    "json": "the result as JSON on stdout",
}


def task_for(polite: Callable[[Callable[..., Any]], Any], print_json: Callable[[dict[str, Any]], None], home: Callable[[], Path]) -> Any:
    """The task `init` over the repository around `home`."""

    @shown_by("init", dry_run=True)
    @polite
    def init(
        _c: Context, app: str = "", build: str = "", deploy: str = "", namespace: str = "", registry: str = "", cluster: str = "",
        site: str = "", dry_run: bool = False, json: bool = False,
    ) -> None:  # fmt: skip
        """Look at this repository, and write tasks.py, a blueprint and a site file for it. What is there already is never overwritten.

        A repository without tasks.py: python -m pipeline init. On a terminal it asks where several ways are possible; elsewhere it takes
        the likeliest and leaves the others as comments.
        """
        from pipeline.init.decide import Given
        from pipeline.init.run import Terminal, first

        given = Given(app, tuple(filter(None, build.split(","))), deploy, namespace, registry, cluster, site)
        done = first(home(), given, Terminal() if sys.stdin.isatty() and not json else None, dry=dry_run)
        if json:
            print_json(done.facts())
        else:
            say(*done.lines())

    return task(init, help=ABOUT)
