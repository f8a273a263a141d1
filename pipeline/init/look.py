"""What stands in somebody's repository: what can be built, what can be deployed, and what says how. Only read, never run."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.init import charts, dockerfiles, plain
from pipeline.init.charts import Chart
from pipeline.init.dockerfiles import Dockerfile
from pipeline.init.plain import Plain
from pipeline.init.texts import Texts, files, slug
from pipeline.source.repository import Repository

MOST = 3000  # YAML files that are read
YAML = (".yaml", ".yml")
ASIDE = {  # folders of what is not the application itself
    "node_modules", "vendor", "third_party", "testdata", "test", "tests", "e2e", "example", "examples", "sample", "samples", "docs", "doc",
    "hack", "_archived", "archive", "archived", "benchmark", "benchmarks", "fixtures", "__tests__", "integration",
}  # fmt: skip
GENERIC = ("app", "chart", "charts", "deploy", "deployment", "helm", "infra", "k8s", "kubernetes", "manifests")  # repositories' names
COMPOSE = re.compile(r"(docker-)?compose([.-][\w.-]+)?\.ya?ml")
REMOTE = re.compile(r"(?:\w+://)?(?:[^@/]+@)?(?P<host>[^:/]+)(?::\d+(?=/))?[:/](?P<path>.+?)(?:\.git)?/?")
IMAGE_ATTR = re.compile(r"([A-Za-z_][\w.-]*)\s*=[^;={]*?\b(?:dockerTools\.\w+|nix2container\.\w+|buildLayeredImage|buildImage|streamLayeredImage)\b", re.DOTALL)  # fmt: skip  # noqa: E501
ACTION = "docker/build-push-action"


@dataclass(frozen=True)
class Seen:
    """What was found in a repository, the likeliest of each kind first. `host` and `path` are those of its git remote, "" if it has none;
    `attr` is the flake's attribute that gives an image."""

    root: Path
    name: str
    host: str
    path: str
    dockerfiles: tuple[Dockerfile, ...]
    flake: bool
    attr: str
    charts: tuple[Chart, ...]
    kustomizations: tuple[Plain, ...]
    jsonnet: tuple[Plain, ...]
    manifests: tuple[Plain, ...]
    compose: tuple[str, ...]

    @property
    def owner(self) -> str:
        return self.path.rpartition("/")[0].lower()


def look(root: Path) -> Seen:
    """Read the repository at `root`. Raises ConfigError if git does not know it."""
    names = files(root)
    known = frozenset(names)
    texts = Texts(root)
    yaml = [name for name in names if name.endswith(YAML)][:MOST]
    compose = tuple(likely(name for name in sorted(yaml, key=_depth) if COMPOSE.fullmatch(name.rpartition("/")[2])))
    host, path = _remote(root)
    name = slug(path.rpartition("/")[2] or root.name)
    hints = [*_of_compose(compose, texts), *_of_workflows(yaml, texts)]
    found_charts = charts.find(_likely(known, "Chart.yaml"), known, texts, name)
    if name in GENERIC and found_charts:
        name = slug(found_charts[0].name)
    inside = tuple(f"{each.folder}/" if each.folder != "." else "" for each in found_charts)
    rest = [each for each in yaml if each not in compose and not each.startswith((".github/", *filter(None, inside)))]
    kustomized, others = plain.find(root, likely(rest), texts)
    scripts = likely(name for name in names if name.endswith(".jsonnet"))
    flake = "flake.nix" in known
    return Seen(
        root, name, host, path,
        dockerfiles.find(likely(names), known, texts, hints, name),
        flake,
        _attr(names, texts) if flake else "",
        found_charts,
        kustomized,
        tuple(plain.of_jsonnet(each, texts) for each in sorted(scripts, key=_depth) if "/lib/" not in f"/{each}"),
        others,
        compose,
    )  # fmt: skip


def likely(names: Iterable[str]) -> list[str]:
    """The names outside of folders of tests, examples and the like; all of them if there are no others."""
    listed = list(names)
    own = [name for name in listed if not ASIDE & set(PurePosixPath(name).parts[:-1])]
    return own or listed


def _likely(known: Iterable[str], last: str) -> list[str]:
    return likely(sorted((name for name in known if name.rpartition("/")[2] == last), key=_depth))


def _depth(name: str) -> tuple[int, str]:
    return name.count("/"), name


def _remote(root: Path) -> tuple[str, str]:
    """(host, path) of the git remote: origin, else the first there is."""
    said = Repository(root).ask("config", "--get-regexp", r"^remote\..*\.url$").decode(errors="replace")
    urls = dict(line.partition(" ")[::2] for line in said.splitlines())
    url = urls.get("remote.origin.url") or next(iter(urls.values()), "")
    found = REMOTE.fullmatch(url)
    if found is None or url.startswith(("/", "./", "../", "file:")):
        return "", ""
    return found["host"], found["path"].strip("/")


def _of_compose(names: Iterable[str], texts: Texts) -> list[dockerfiles.Hint]:
    """How Compose builds its services."""
    found = []
    for name in names:
        folder = PurePosixPath(name).parent
        for data in texts.values(name):
            services = data.get("services") if isinstance(data, dict) else None
            for service, told in services.items() if isinstance(services, dict) else ():
                build = told.get("build") if isinstance(told, dict) else None
                if build:
                    options = build if isinstance(build, dict) else {"context": build}
                    found.append(
                        _hint(folder, options.get("context", "."), options.get("dockerfile"), "", service)
                    )  # its targets are for developing
    return [each for each in found if each]


def _of_workflows(names: Iterable[str], texts: Texts) -> list[dockerfiles.Hint]:
    """How GitHub workflows build images."""
    found = []
    for name in names:
        if not name.startswith(".github/workflows/"):
            continue
        for data in texts.values(name):
            jobs = data.get("jobs") if isinstance(data, dict) else None
            for job in jobs.values() if isinstance(jobs, dict) else ():
                steps = job.get("steps") if isinstance(job, dict) else None
                for step in steps if isinstance(steps, list) else ():
                    if isinstance(step, dict) and str(step.get("uses", "")).startswith(ACTION) and isinstance(step.get("with"), dict):
                        given = step["with"]
                        context = str(given.get("context", "."))
                        file = given.get("file")
                        if file:  # of an action both are named from the root
                            file = os.path.relpath(str(file), context or ".")
                        found.append(_hint(PurePosixPath(), context, file, given.get("target"), ""))
    return [each for each in found if each]


def _hint(folder: PurePosixPath, context: Any, file: Any, target: Any, service: str) -> dockerfiles.Hint | None:
    """Where the context and the Dockerfile are in the repository; None for what a variable or a URL says."""
    said = f"{context} {file} {target}"
    if not isinstance(context, str) or "$" in said or "://" in said or context.startswith("/"):
        return None
    there = _inside(folder / context)
    path = _inside(folder / context / str(file or "Dockerfile"))
    return dockerfiles.Hint(path, there or ".", str(target or ""), slug(service) if service else "") if path else None


def _inside(path: PurePosixPath) -> str:
    plain_ = os.path.normpath(str(path))
    return "" if plain_.startswith("..") else plain_


def _attr(names: Iterable[str], texts: Texts) -> str:
    """The attribute of the flake that gives an image, "" if no file of nix seems to make one."""
    for name in ["flake.nix", *(name for name in names if name.endswith(".nix") and name != "flake.nix")]:
        text = texts.text(name)
        if "dockerTools" not in text and "nix2container" not in text:
            continue
        found = [each[1].rpartition(".")[2] for each in IMAGE_ATTR.finditer(text)]
        return next((each for each in found if re.search("docker|image|container|oci", each, re.IGNORECASE)), (found or ["docker"])[0])
    return ""
