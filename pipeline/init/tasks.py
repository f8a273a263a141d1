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
    "update": "take in what changed in the repository since; edits of the files stay, and where both meet nothing is written",
    "marks": "with --update: where both meet, write both into the file between git's marks",
    "dry-run": "only show what would be written",
    "json": "the result as JSON on stdout",
}


def task_for(polite: Callable[[Callable[..., Any]], Any], print_json: Callable[[dict[str, Any]], None], home: Callable[[], Path]) -> Any:
    """The task `init` over the repository around `home`."""

    @shown_by("init", dry_run=True)
    @polite
    def init(
        _c: Context, app: str = "", build: str = "", deploy: str = "", namespace: str = "", registry: str = "", cluster: str = "",
        site: str = "", update: bool = False, marks: bool = False, dry_run: bool = False, json: bool = False,
    ) -> None:  # fmt: skip
        """Look at this repository, and write tasks.py, a blueprint and a site file for it. What is there already is never overwritten.

        A repository without tasks.py: python -m pipeline init. On a terminal it asks where several ways are possible; elsewhere it takes
        the likeliest and leaves the others as comments.

            inv init --update          when a Dockerfile, a chart or manifests came or went: your edits stay
        """
        from pipeline.init import run
        from pipeline.init.decide import Given

        given = Given(app, tuple(filter(None, build.split(","))), deploy, namespace, registry, cluster, site)
        if update:
            done = run.update(home(), given, dry=dry_run, marks=marks)
        else:
            done = run.first(home(), given, run.Terminal() if sys.stdin.isatty() and not json else None, dry=dry_run)
        if json:
            print_json(done.facts())
        else:
            say(*done.lines())

    return task(init, help=ABOUT)
