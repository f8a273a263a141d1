"""Helm's command line: what to call, and what its output means, for Helm 3.13 and later and Helm 4."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.environment import KUBE, passed
from pipeline.errors import ConfigError, Locked, NotRolledBack, PipelineError, ResourceError
from pipeline.host.scripts import one_value
from pipeline.tools import kube_rules
from pipeline.tools.meanings import Rule, Said, Tool, shown

OLDEST = (3, 13)  # the first whose upgrade takes --labels
LIMIT = 1 << 20  # bytes a Secret may hold, which is where Helm keeps a release
NOTES = "NOTES:"  # the line before what the chart's NOTES.txt gives, the last that helm prints
Argv = tuple[str, ...]


@dataclass(frozen=True)
class Target:
    """One release on one cluster, and the helm that is called, which finds the kubeconfig itself if none is named. `server` and
    `server_name` are those of a tunnel, if there is one."""

    program: str
    version: tuple[int, int]
    release: str
    namespace: str
    kubeconfig: str
    context: str
    server: str = ""
    server_name: str = ""


def version(program: str) -> Argv:
    return (program, "version", "--short")


def upgrade(target: Target, chart: str, values: Sequence[str], labels: Mapping[str, str], seconds: int, *, validate: bool = True) -> Argv:
    """Install or upgrade; returns once the objects are written, without waiting for pods. `seconds` bounds each hook.

    Without `validate` helm does not compare field names with the cluster's schema, half of what it does (0.4 and 0.2 s with Helm 4.3):
    for what it has let through before. Types and admission are the server's own work, and stay.
    """
    files = (word for file in values for word in ("--values", one_value(file)))
    return (
        target.program, "upgrade", "--install", *_common(target), *files, "--history-max", "10",
        "--labels", ",".join(f"{key}={value}" for key, value in labels.items()), "--timeout", f"{seconds}s", *_forced(target),
        *(() if validate else ("--disable-openapi-validation",)), "--", target.release, chart,
    )  # fmt: skip


def template(program: str, release: str, namespace: str, chart: str, values: Sequence[str]) -> Argv:
    """Print what the chart gives, hooks too, without asking a cluster."""
    files = (word for file in values for word in ("--values", one_value(file)))
    return (program, "template", "--namespace", namespace, *files, "--skip-tests", "--", release, chart)


def rollback(target: Target, revision: int, seconds: int) -> Argv:
    return (
        target.program, "rollback", *_common(target), "--history-max", "10", "--timeout", f"{seconds}s", *_forced(target),
        "--", target.release, str(revision),
    )  # fmt: skip


def uninstall(target: Target, seconds: int) -> Argv:
    return (target.program, "uninstall", *_common(target), "--timeout", f"{seconds}s", "--", target.release)


def lint(program: str, chart: str) -> Argv:
    return (program, "lint", "--", chart)


def environment(inherited: Mapping[str, str], folder: str) -> dict[str, str]:
    """The environment helm runs in: the user's, but no HELM_* and no KUBECONFIG, caches under `folder`."""
    return passed(KUBE, inherited) | {
        "HELM_CACHE_HOME": f"{folder}/cache", "HELM_CONFIG_HOME": f"{folder}/config", "HELM_DATA_HOME": f"{folder}/data",
        "HELM_NO_PLUGINS": "1",
    }  # fmt: skip


def notes(text: str) -> list[str]:
    """Return the lines that the chart's NOTES.txt gave, of all that helm printed."""
    lines = text.splitlines()
    return [line for line in lines[lines.index(NOTES) + 1 :] if line.strip()] if NOTES in lines else []


def read_version(text: str) -> tuple[int, int]:
    """(major, minor) from `helm version --short`. Raises ConfigError where it is too old or is not helm."""
    match = re.search(r"v(\d+)\.(\d+)", text)
    if match is None:
        raise ConfigError("this is not helm", cause=text.strip()[:200], mend="install Helm 3.13 or later, or name it in the site's tools")
    found = int(match[1]), int(match[2])
    if found < OLDEST:
        raise ConfigError(f"helm {found[0]}.{found[1]} is too old", mend="install Helm 3.13 or later (it keeps labels of a release)")
    return found


def _common(target: Target) -> Argv:
    named = (("--namespace", target.namespace), ("--kubeconfig", target.kubeconfig), ("--kube-context", target.context))
    words = tuple(word for option in named if option[1] for word in option)
    tunnel = ("--kube-apiserver", target.server, "--kube-tls-server-name", target.server_name) if target.server else ()
    return (*words, *tunnel)


def _forced(target: Target) -> Argv:
    """Helm 4 applies on the server, where another's edit of a field is a conflict: the blueprint wins, as it did with Helm 3."""
    return ("--server-side=true", "--force-conflicts") if target.version >= (4, 0) else ()


UNRENDERED = "the chart cannot be rendered"
VERSION = "the chart does not allow this version of Kubernetes"
TEMPLATE = re.compile(r"([\w.-]+/(?:charts/[\w.-]+/)*templates/[\w./-]+):(\d+)")
OUTPUT = re.compile(r"YAML parse error on (\S+): .*?line (\d+)")
OWN = re.compile(r"^Error: ", re.MULTILINE)
CHART = "correct the chart or its values"

# The first that fits counts: what a chart's author makes helm say comes before all that looks like it. Recorded outputs: tests/cases/helm/
RULES = (
    Rule(
        r"found in Chart\.yaml, but missing in charts/ directory",
        ConfigError,
        "the charts that this one depends on are not in its folder charts/",
        "helm dependency build FOLDER, FOLDER being the chart's",
    ),
    Rule(r"(?:execution error at|template: |parse error at|YAML parse error on|error converting YAML)", ConfigError, UNRENDERED, CHART),
    Rule(rf"{TEMPLATE.pattern}:\d+\n\s*executing ", ConfigError, UNRENDERED, CHART),  # Helm 4
    Rule(
        r"values don't meet the specifications of the schema", ConfigError, "the values do not fit the chart's schema", "correct `values`"
    ),
    Rule(
        r"(?:failed (?:pre|post)-(?:install|upgrade|rollback): |(?:pre|post)-(?:install|upgrade|rollback) hooks failed)",
        NotRolledBack,
        "a hook of the chart failed",
        "kubectl logs of the hook's Job",
    ),
    Rule(
        r"another operation \(install/upgrade/rollback\) is in progress",
        Locked,
        "helm says another operation is in progress",
        "run again: a release whose helm was killed is repaired first",
    ),
    Rule(
        r"(?:Secret \"sh\.helm\.release\.[^\"]*\" is invalid: data: Too long: |Request entity too large|etcdserver: request is too large)",
        ConfigError,
        "the release is too large to be kept in a Secret (1 MiB)",
        "look for large files in the chart's folder; name them in .helmignore",
    ),
    Rule(
        r"(?:invalid ownership metadata|[\w.-]+ \"[^\"]*\" in namespace \"[^\"]*\" exists and cannot be imported)",
        ConfigError,
        "an object of that name exists and belongs to somebody else",
        "delete it, or give it to the release with the labels the cause names",
    ),
    Rule(r"chart requires kubeVersion", ConfigError, VERSION, "see kubeVersion"),
    *kube_rules.RULES,
    Rule(
        r"(?:path \"[^\"]*\" not found|Chart\.yaml file is missing|validation: "
        r"|chart\.metadata\.)",
        ConfigError,
        "helm refused the chart",
        "correct what the cause names",
    ),
    Rule(
        r"release(?:: not found$| has no \d+ version$)",
        ConfigError,
        "helm knows no such release or revision",
        "helm history shows those there are",
    ),
    Rule(r"(?:write|open|mkdir) [^:\n]*: no space left on device$", ResourceError, "no disk space for helm", "free some space here"),
)


def own(text: str) -> Said:
    """Return helm's last complaint; what hooks and charts printed before it is not helm's."""
    begun = [found.end() for found in OWN.finditer(text)]
    lines = [line for line in text.splitlines() if not line.startswith(("level=", 'Release "')) and line.strip()]
    return Said((text[begun[-1] :],) if begun else (), shown(lines, 6))


TOOL = Tool("helm", RULES, own, "see the cause; `helm upgrade … --dry-run=server` shows more")


def failure(code: int, text: str) -> PipelineError:
    """Return the error that helm's exit `code` and its output mean, with the place in a template that cannot be rendered."""
    error = TOOL.failure(code, text)
    if error.what == UNRENDERED:
        error.what += _place(text)
    return error


def is_of_the_cluster(error: PipelineError) -> bool:
    """Whether the chart's own templates or its kubeVersion refuse: with a cluster to ask they may not."""
    return error.what.startswith((UNRENDERED, VERSION))


def _place(text: str) -> str:
    """Return `: FILE:LINE` of the template that cannot be rendered, as far as helm says it."""
    if found := TEMPLATE.search(text):
        return f": {found[1]}:{found[2]}"
    found = OUTPUT.search(text)
    return f": {found[1]}, line {found[2]} of what it gives" if found else ""


def lint_failure(code: int, text: str) -> PipelineError:
    """The error of `helm lint`: the faults it names, without its hints and warnings."""
    faults: list[str] = []
    fault = False
    for line in text.splitlines():
        if line.startswith("[") or not line.strip():
            fault = line.startswith("[ERROR]")
            faults += [line.removeprefix("[ERROR] ")] if fault else []
        elif fault and not line.startswith(("Error", "==>")):
            faults.append(line)
    if not faults:
        return failure(code, text)
    found = TEMPLATE.search("\n".join(faults))
    where = f": {found[1]}:{found[2]}" if found else ""
    return ConfigError(f"helm finds fault with the chart{where}", cause="\n".join(faults), mend="correct the chart; nothing was published")
