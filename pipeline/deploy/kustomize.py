"""A folder with a kustomization: the folders and files that it is made from, and what kubectl renders of it. Nothing is fetched for it.

Source: https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.artifacts import Images
from pipeline.deploy import manifest_images
from pipeline.errors import ConfigError
from pipeline.host import Cmd
from pipeline.host.local import LocalHost
from pipeline.tools import goyaml, kubectl

NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
FOLDERS = ("resources", "bases", "components", "generators", "transformers", "validators")  # each entry is a file or another folder
FILES = ("crds", "configurations", "patchesStrategicMerge", "patches", "patchesJson6902", "replacements")
GENERATORS = ("configMapGenerator", "secretGenerator")
CHARTS = ("helmCharts", "helmChartInflationGenerator")
REMOTE = re.compile(
    r"[a-z0-9+.-]+://|git@|git::|(?:github|gitlab|bitbucket)\.(?:com|org)[/:]|.*\?(?:ref|version|timeout|submodules)=|[^/]+@[^/]+:"
)
MOST = 200  # folders of one kustomization
SHOW = 60.0  # seconds that kubectl may take
# No git to clone with, and a proxy that nobody is: what the look at the files has missed is not fetched
ALONE = {
    "PATH": "/nonexistent",
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9"),
    "NO_PROXY": "",
}


def file_of(folder: Path) -> Path | None:
    """The kustomization in `folder`; None if it has none."""
    return next((folder / name for name in NAMES if (folder / name).is_file()), None)


def folders(root: Path, folder: Path) -> list[Path]:
    """The folder itself and those that its kustomization leads to: all that lies in them is what it is made from.

    Raises ConfigError, with file and line, for what would have to be fetched, for helm charts, and for what is not there or leads out of
    the working copy.
    """
    found: list[Path] = []
    waiting = [folder]
    while waiting:
        here = waiting.pop(0)
        if here in found:
            continue
        found.append(here)
        if len(found) > MOST:
            raise ConfigError(f"the kustomization leads to more than {MOST} folders", mend="name one of them as `manifests`")
        file = file_of(here)
        if file is None:
            raise ConfigError(f"there is no kustomization in {_named(here, root)}", mend=f"write one: {NAMES[0]}, with `resources`")
        waiting += _below(root, here, file)
    return found


def _below(root: Path, here: Path, file: Path) -> Iterator[Path]:
    """The other folders that a kustomization names."""
    name = _named(file, root)
    document = next(iter(goyaml.documents(file.read_bytes().decode(errors="replace"), name)), None)
    data = document.data if document else None
    if document is None or not isinstance(data, dict):
        raise ConfigError(f"{name} is no kustomization", mend="it holds `resources`, `images`, …")
    if charts := next((key for key in CHARTS if data.get(key)), ""):
        raise ConfigError(
            f"{document.place((charts,))}: {charts} fetches a chart while it renders, and is not run here",
            mend="release the chart by a stage of its own (driver: helm), or keep what `helm template` gives among the resources",
        )
    for path, said in _named_in(data):
        where, there = document.place(path), here / said
        if not there.exists():
            if REMOTE.match(said):
                mend = "copy it into the working copy and name the folder; nothing is fetched while a release is made"
                raise ConfigError(f"{where}: {said} is fetched from outside", mend=mend)
            raise ConfigError(f"{where}: there is no {said}", mend="correct the name; it is looked for from the kustomization's folder")
        if not there.resolve().is_relative_to(root.resolve()):
            raise ConfigError(f"{where}: {said} leads out of the working copy", mend="copy it into the working copy")
        if there.is_dir():
            yield root / there.resolve().relative_to(root.resolve())


def _named_in(data: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each file and folder that a kustomization names, with the path where it stands."""
    for key in (*FOLDERS, *FILES):
        for number, each in enumerate(_list(data.get(key))):
            said = each.get("path") if isinstance(each, dict) else each
            if isinstance(said, str) and "\n" not in said:  # a patch may be written out
                yield (key, str(number)), said
    for key in GENERATORS:
        for number, each in enumerate(_list(data.get(key))):
            given = each if isinstance(each, dict) else {}
            for said in (*_list(given.get("files")), *_list(given.get("envs")), *([given["env"]] if given.get("env") else [])):
                yield (key, str(number)), str(said).rpartition("=")[2] if "://" not in str(said) else str(said)
    if isinstance(data.get("openapi"), dict) and data["openapi"].get("path"):
        yield ("openapi",), str(data["openapi"]["path"])


def rendered(program: str, root: Path, folder: str, images: Images | None) -> list[Any]:
    """The objects that `kubectl kustomize` gives, each image of the build by its digest. Raises ConfigError with what it says."""
    output = LocalHost().run(Cmd((program, "kustomize", "--", folder), env=ALONE, cwd=str(root), timeout=SHOW, secret=True))
    if output.code in (126, 127):
        raise ConfigError(f"{program} cannot be run", cause=output.errors, mend=kubectl.INSTALL)
    if not output.ok:
        cause = output.errors.replace(f"{root.resolve()}/", "").replace(f"{root}/", "")
        raise ConfigError(
            f"the kustomization in {folder} cannot be rendered", cause=cause[-2000:], mend=f"try it: kubectl kustomize {folder}"
        )
    found = goyaml.values(output.stdout.decode(), f"what kustomize gives of {folder}")
    return manifest_images.filled(found, {image.repository: image.reference for image in images.images}) if images else found


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _named(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
