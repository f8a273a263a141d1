"""A site in a folder, with this machine for its hosts."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.doctor.verdict import Verdict
from pipeline.host import Host
from pipeline.records import Records
from pipeline.secrets import Secrets
from pipeline.stage import Cluster, Registry, Remote, Site

BUSYBOX = pytest.param(("busybox", "sh"), marks=pytest.mark.skipif(not shutil.which("busybox"), reason="busybox is not installed"))
SHELLS = [("sh",), BUSYBOX]


def site(
    root: Path,
    *,
    hosts: Mapping[str, Host] | None = None,
    remotes: Mapping[str, Remote] | None = None,
    registries: Mapping[str, Registry] | None = None,
    clusters: Mapping[str, Cluster] | None = None,
    tools: Mapping[str, str] | None = None,
    values: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
) -> Site:
    return Site(
        app="probe",
        root=root,
        hosts=hosts or {},
        remotes=remotes or {},
        registries=registries or {},
        clusters=clusters or {},
        tools=tools or {},
        values=values or {},
        records=Records(root / "records.db"),
        secrets=Secrets(env or {}),
    )


def by_name(verdicts: list[Verdict]) -> dict[str, Verdict]:
    return {verdict.name: verdict for verdict in verdicts}


def program(folder: Path, name: str, text: str) -> Path:
    """A shell script `name` in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path
