"""A chart, of the working copy, an installed package or a registry: checked before helm reads it, and named by its content."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.deploy.spec import SCHEME, Helm
from pipeline.errors import ConfigError
from pipeline.stage import Site
from pipeline.tools import goyaml
from pipeline.tools.helm import LIMIT

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
VERSION = re.compile(r"v?\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")  # semver.org, with the v that Helm takes too
SHIPPED = re.compile(r"([A-Za-z_][A-Za-z0-9_]*):([A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*)")
LARGEST = 32 << 20  # bytes of a whole chart folder; what is larger is not a chart
LENGTH = 40  # of the digest
SUSPECT = 256 << 10  # below this the stored release cannot reach its limit
KEPT_OUT = (".git", ".DS_Store")
WRITTEN = ("Chart.yaml", "Chart.lock", "requirements.lock")


@dataclass(frozen=True)
class Chart:
    """A chart: `folder` is where it lies, the folder itself or an archive, and what helm is given. Its files by relative name and content;
    `digest` names all of them, of a chart in a registry with the version before it: 1.2.3@sha256:…"""

    folder: Path
    name: str
    version: str
    files: tuple[tuple[str, bytes], ...]
    digest: str


def identity(spec: Helm, site: Site) -> str:
    """What names the chart's content: see `Chart.digest`. Of a chart in a registry nothing is pulled. Raises as `read` and `oci.named`."""
    if not spec.chart.startswith(SCHEME):
        return read(site.root, spec.chart).digest
    from pipeline.deploy import oci  # a chart in a folder, the usual case, asks no registry

    return str(oci.named(spec, site))


@contextlib.contextmanager
def asked(spec: Helm, site: Site) -> Iterator[Callable[[], str]]:
    """`identity`, for whoever has something else to ask meanwhile: a registry is asked at once and beside, a folder is read when called."""
    if not spec.chart.startswith(SCHEME):
        yield lambda: identity(spec, site)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(identity, spec, site).result


def whole(spec: Helm, site: Site) -> Chart:
    """The chart with its files. Raises as `read` and `oci.pulled`."""
    if not spec.chart.startswith(SCHEME):
        return read(site.root, spec.chart)
    from pipeline.deploy import oci

    return oci.pulled(spec, site)


def place(root: Path, folder: str) -> tuple[Path, Path]:
    """(base, path) of a chart: `folder` is one below the working copy `root`, or PACKAGE:FOLDER, a chart that an installed package brings
    (`pipeline:chart` is this one's own). The package is found, not imported. Raises ConfigError where it is not installed."""
    shipped = SHIPPED.fullmatch(folder)
    if shipped is None:
        return root, root / folder
    from importlib.util import find_spec  # a chart of the working copy, the usual case, does not pay for it

    found = find_spec(shipped[1])
    homes = [Path(home) for home in (found.submodule_search_locations or ())] if found else []
    if not homes:
        raise ConfigError(f"chart {folder}: package {shipped[1]} is not installed", mend=f"install {shipped[1]} where inv runs")
    if shipped[1] == __name__.partition(".")[0]:
        homes += [home.parent for home in homes]  # the wheel has it inside the package, a checkout beside it
    base = next((home for home in homes if (home / shipped[2] / "Chart.yaml").is_file()), homes[0])
    return base, base / shipped[2]


def read(root: Path, folder: str) -> Chart:
    """The chart that `folder` names (see `place`).

    A link to a file of the repository is followed. Raises ConfigError where it is missing, leaves the working copy, holds any other
    symbolic link (CVE-2025-53547: a linked Chart.lock is written through), has an unsafe name or version (CVE-2026-35206), or is larger
    than any chart.
    """
    base, path = place(root, folder)
    if not (path / "Chart.yaml").is_file():
        raise ConfigError(f"there is no chart in {folder}/", mend="name the folder with Chart.yaml, or pipeline:chart, the library's own")
    if not path.resolve().is_relative_to(base.resolve()):
        raise ConfigError(f"chart {folder}/ leads out of the working copy", mend="copy the chart into the working copy")
    files, size = [], 0
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        if name.split("/")[0] in KEPT_OUT:
            continue
        if file.is_symlink() and not _is_inside(file, base):
            raise ConfigError(f"{folder}/{name} is a symbolic link", mend="put the file itself there")
        if file.is_file():
            size += file.stat().st_size
            if size > LARGEST:
                raise ConfigError(f"chart {folder}/ holds more than {LARGEST >> 20} MiB", cause=name, mend="take the large files out")
            files.append((name, file.read_bytes()))
    digest = hashlib.sha256()
    for name, content in files:
        digest.update(f"{len(name)} {name} {len(content)} ".encode() + content)
    return Chart(path, *metadata(tuple(files), folder), tuple(files), digest.hexdigest()[:LENGTH])


def _is_inside(link: Path, base: Path) -> bool:
    """Whether a link leads to a plain file of the repository, as one to its LICENSE does, and is none that helm writes through."""
    goal, home = link.resolve(), base.resolve()
    if not link.is_file() or link.name in WRITTEN or not goal.is_relative_to(home):
        return False
    return goal.relative_to(home).parts[0] not in (".git", ".pipeline")


def check_size(chart: Chart, values: Mapping[str, Any]) -> None:
    """Raise ConfigError where the release would not fit the Secret that Helm keeps it in, naming the largest files.

    Helm stores base64(gzip(json)) of chart, values and manifest (helm.sh/helm/v4/pkg/storage/driver/util.go).
    """
    if sum(len(content) for _, content in chart.files) < SUSPECT:
        return
    stored = [{"name": name, "data": base64.b64encode(content).decode()} for name, content in chart.files]
    size = len(zlib.compress(json.dumps([stored, values]).encode(), 9)) * 4 // 3
    if size <= LIMIT:
        return
    largest = sorted(chart.files, key=lambda file: -len(file[1]))[:3]
    raise ConfigError(
        f"the release would be about {size >> 10} KiB, a Secret holds {LIMIT >> 10} KiB",
        cause="\n".join(f"{name}: {len(content) >> 10} KiB" for name, content in largest),
        mend="take these files out of the chart's folder, or name them in its .helmignore and move them away",
    )


def metadata(files: tuple[tuple[str, bytes], ...], where: str) -> tuple[str, str]:
    """(name, version) of a chart; `where` is how errors call it. Raises ConfigError as `read` says."""
    about = description(files, f"{where}/Chart.yaml")
    return str(about["name"]), str(about["version"])


def description(files: tuple[tuple[str, bytes], ...], where: str) -> dict[str, Any]:
    """What Chart.yaml says; `where` is how errors call it. Raises ConfigError where it is none, or name or version are not safe."""
    try:
        loaded = next(iter(goyaml.values(dict(files)["Chart.yaml"].decode(), where)), None)
    except (ConfigError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where} is not YAML", cause=str(error), mend="correct it") from error
    if not isinstance(loaded, dict):
        raise ConfigError(f"{where} is not a chart's description", mend="it holds apiVersion, name and version")
    name, version = str(loaded.get("name", "")), str(loaded.get("version", ""))
    if not NAME.fullmatch(name):
        raise ConfigError(f"{where}: name {name!r} is not a chart's name", mend="lower-case letters, digits and '-'")
    if not VERSION.fullmatch(version):
        raise ConfigError(f"{where}: version {version!r} is not a version", mend="write it as 1.2.3 (semver.org)")
    return loaded
