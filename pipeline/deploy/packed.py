"""A chart as one file and as a registry has it: the same content gives the same bytes; read without writing anything to disk.

Layout: a gzipped tar whose members all lie in a folder of the chart's name, as helm.sh/helm/v4/pkg/chart/loader/archive reads it.
"""

from __future__ import annotations

import fnmatch
import gzip
import io
import json
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.deploy import chart
from pipeline.errors import ConfigError, IntegrityError
from pipeline.tools import references

LARGEST = 32 << 20  # bytes of all files of a chart
MOST = 5_000  # files of a chart
IGNORE = ".helmignore"
APP_VERSION = re.compile(rb"^appVersion:.*\n?", re.MULTILINE)
# Source of the media types: helm.sh/helm/v4/pkg/registry/constants.go, the same since 3.8
CONFIG = "application/vnd.cncf.helm.config.v1+json"
CONTENT = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
Files = tuple[tuple[str, bytes], ...]


def pack(name: str, files: Files) -> bytes:
    """The archive of a chart: members in order, without owner, time or mode of the machine it was packed on."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, content in sorted(files):
            entry = tarfile.TarInfo(f"{name}/{path}")
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(raw.getvalue(), compresslevel=9, mtime=0)


@dataclass(frozen=True)
class Made:
    """A chart as it goes into a registry: the archive, its metadata as JSON, and the manifest of both."""

    archive: bytes
    config: bytes
    manifest: bytes

    @property
    def digest(self) -> str:
        return references.digest_of(self.manifest)


def manifest_of(name: str, files: Files) -> Made:
    """The same bytes for the same files. Raises ConfigError where Chart.yaml is none."""
    archive = pack(name, files)
    about = chart.description(files, "Chart.yaml")
    config = json.dumps(_typed(about), sort_keys=True, separators=(",", ":")).encode()
    notes = {"title": about["name"], "version": about["version"], "description": about.get("description")}
    value = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": references.digest_of(config), "size": len(config)},
        "layers": [{"mediaType": CONTENT, "digest": references.digest_of(archive), "size": len(archive)}],
        "annotations": {f"org.opencontainers.image.{key}": str(note) for key, note in notes.items() if note},
    }
    return Made(archive, config, json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def _typed(value: Any, field: str = "") -> Any:
    """The description as Helm types it: text in every field but these, so that `kubeVersion: 1.25` is no number in JSON, where Helm would
    refuse it. Source: Metadata and Dependency in helm.sh/helm/v4/pkg/chart/v2, the same since 3.0."""
    if isinstance(value, dict):
        return {str(key): _typed(item, str(key)) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_typed(item, field) for item in value]
    if isinstance(value, bool):
        return value if field in ("deprecated", "enabled") else str(value).lower()
    return str(value)


def unpack(body: bytes, where: str) -> tuple[str, Files]:
    """(folder, files in order) of an archive; `where` is how errors call it.

    Raises IntegrityError where it is no chart's archive: damaged, more than any chart holds, or with members that are links, lie outside
    the one folder, or come twice.
    """
    found: dict[str, bytes] = {}
    folders: set[str] = set()
    size = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(_unzipped(body, where))) as tar:
            for member in tar:
                folder, _, path = member.name.removeprefix("./").partition("/")
                if member.isdir():
                    continue
                safe = folder and path and not {"", ".", ".."} & {folder, *path.split("/")} and "\\" not in path and "\0" not in path
                if not member.isreg() or not safe or path in found:
                    raise IntegrityError(f"{where} holds {member.name[:200]!r}, which is no plain file of a chart", mend="do not deploy it")
                folders.add(folder)
                size += member.size
                if len(found) >= MOST or size > LARGEST:
                    raise IntegrityError(f"{where} holds more than any chart does", mend="look what was pushed there")
                found[path] = (tar.extractfile(member) or io.BytesIO()).read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise IntegrityError(f"{where} is not a chart's archive", cause=f"{type(error).__name__}: {error}", mend="push it again") from error
    if len(folders) != 1 or "Chart.yaml" not in found:
        raise IntegrityError(
            f"{where} is not a chart's archive", cause="it has no single folder with a Chart.yaml in it", mend="push it again"
        )
    return folders.pop(), tuple(sorted(found.items()))


def _unzipped(body: bytes, where: str) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
        raw = file.read(2 * LARGEST + 1)
    if len(raw) > 2 * LARGEST:
        raise IntegrityError(f"{where} unpacks to more than any chart does", mend="look what was pushed there")
    return raw


def kept(files: Files) -> Files:
    """The files that a package holds: those that the chart's .helmignore does not name. Raises ConfigError for `**`, which Helm refuses,
    and where Chart.yaml itself is left out."""
    rules = list(_rules(dict(files).get(IGNORE, b"").decode(errors="replace").splitlines()))
    found = tuple((path, content) for path, content in files if not _ignored(path, rules))
    if "Chart.yaml" not in dict(found):
        mend = "take that rule out; to Helm, unlike git, a rule with ! leaves out all that it does not name"
        raise ConfigError(f"{IGNORE} leaves out Chart.yaml itself", mend=mend)
    return found


def with_app_version(files: Files, version: str) -> Files:
    """The files with `version` as the appVersion in Chart.yaml; as they are where it is ""."""
    if not version:
        return files
    line = f'appVersion: "{version}"\n'.encode()
    text = APP_VERSION.sub(b"", dict(files)["Chart.yaml"])
    text += b"" if text.endswith(b"\n") else b"\n"
    return tuple((path, text + line if path == "Chart.yaml" else content) for path, content in files)


def differing(one: Files, other: Files, *, app_version: bool = True) -> list[str]:
    """The names of the files that two charts do not share. Chart.yaml counts by what it says, since helm writes it anew when it packs;
    without `app_version` what it says of that, which a push may have set, does not count."""
    mine, theirs = _facts(one, app_version), _facts(other, app_version)
    return sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))


def _facts(files: Files, app_version: bool) -> dict[str, Any]:
    found: dict[str, Any] = dict(files)
    about = _typed(chart.description(files, "Chart.yaml"))
    found["Chart.yaml"] = {key: value for key, value in about.items() if value and (app_version or key != "appVersion")}
    return found


def _rules(lines: Iterable[str]) -> Iterator[tuple[str, bool, bool, bool]]:
    """(pattern, names what is kept, of folders only, from the chart's root) of each line."""
    for line in lines:
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if "**" in text:
            raise ConfigError(f"{IGNORE}: {text!r}: helm takes no **", mend="name each folder")
        keep, text = text.startswith("!"), text.removeprefix("!")
        folders, text = text.endswith("/"), text.rstrip("/")
        yield text.removeprefix("/"), keep, folders, "/" in text
    yield "templates/.?*", False, False, True  # Helm's own


def _ignored(path: str, rules: list[tuple[str, bool, bool, bool]]) -> bool:
    """Whether a file, or a folder above it, is ignored. A rule with ! ignores all that does not fit it, which is Helm's reading, not
    git's. Source: helm.sh/helm/v4/pkg/ignore/rules.go."""
    parts = path.split("/")
    for depth in range(1, len(parts) + 1):
        above, folder = "/".join(parts[:depth]), depth < len(parts)
        for pattern, keep, folders, rooted in rules:
            fits = _fits(above if rooted else parts[depth - 1], pattern) and (folder or not folders)
            if fits != keep:
                return True
    return False


def _fits(path: str, pattern: str) -> bool:
    """As a shell matches a path: no * reaches over a slash."""
    words, patterns = path.split("/"), pattern.split("/")
    return len(words) == len(patterns) and all(map(fnmatch.fnmatchcase, words, patterns))
