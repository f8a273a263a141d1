"""kubecfg's command line: what to call, and what its output means. Recorded outputs: tests/cases/kubecfg/"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline import jsontext
from pipeline.environment import KUBE, passed
from pipeline.errors import ConfigError
from pipeline.tools import kube_rules
from pipeline.tools.kubectl import Argv, Target, common
from pipeline.tools.meanings import Said, Tool, find, shown

INSTALL = "install kubecfg 0.34 or later (github.com/kubecfg/kubecfg), or name it in the site's tools"
PLACE = re.compile(r"file://(?P<file>[^\s:]+):\(?(?P<line>\d+)")
MISSING = "doesn't exist on server"


def show(program: str, files: tuple[str, ...], top: Mapping[str, Any], external: Mapping[str, Any], libraries: tuple[str, ...]) -> Argv:
    """Evaluate to JSON documents, one after another between lines of `---`. Strings go as strings, other values as code."""
    words: list[str] = []
    for kind, values in (("tla", top), ("ext", external)):
        for name, value in values.items():
            words += [f"--{kind}-str", f"{name}={value}"] if isinstance(value, str) else [f"--{kind}-code", f"{name}={json.dumps(value)}"]
    for folder in libraries:
        words += ["--jpath", folder]
    return (program, "show", "--format", "json", "--resolve-images", "noop", *words, "--", *files)


def diff(target: Target, file: str) -> Argv:
    """What differs between the cluster and the objects in `file`, of the fields that they name. Ends with 1 where something does."""
    return (target.program, "diff", *common(target), "--diff-strategy", "subset", "--omit-secrets", "--", file)


def update(target: Target, file: str, tag: str) -> Argv:
    """Write the objects of `file`. They are tagged for kubecfg's own garbage collection, which is not let loose: it looks through every
    kind of object in every namespace, and deletes what merely carries the tag."""
    return (target.program, "update", *common(target), "--validate=false", "--gc-tag", tag, "--skip-gc", "--", file)


def environment(inherited: Mapping[str, str], _folder: str) -> dict[str, str]:
    """The environment it runs in: no search path of the user's, no KUBECONFIG."""
    return passed(KUBE, inherited)


def objects(text: str) -> list[Any]:
    """The objects that `show` printed. Raises ConfigError where that is no JSON."""
    try:
        return [jsontext.loads(part) for part in re.split(r"^---$", text, flags=re.MULTILINE) if part.strip()]
    except ValueError as error:
        raise ConfigError("kubecfg did not print JSON", cause=f"{error}: {text[:200]}", mend=INSTALL) from error


def unshown(text: str, root: str) -> ConfigError:
    """The error of a `show` that failed: where in the jsonnet, and what to do. `root` is the working copy, left out of file names."""
    lines = [line for line in text.replace(f"file://{root}/", "").replace(f"{root}/", "").strip().splitlines() if line.strip()]
    first = lines[0] if lines else "it said nothing"
    entry = re.match(r"error reading (\S+): (.*)", first)
    said = (entry[2] if entry else first).removeprefix("RUNTIME ERROR: ").strip()
    place = next((f"{found['file']}:{found['line']}" for found in PLACE.finditer(text)), "").removeprefix(f"{root}/")
    if place and said.startswith(f"{place}:"):
        said = re.sub(r"^\S+ ", "", said)
    where = place or (entry[1] if entry else "the manifests")
    found = find(UNSHOWN, (said,))
    mend = found[0].mend.format(*found[1].groups()) if found else "correct the manifests: kubecfg show evaluates them"
    return ConfigError(f"{where}: {said}", cause="\n".join(lines[1:6]), mend=mend)


@dataclass(frozen=True)
class Unshown:
    """What to do if the manifests cannot be evaluated; the numbers in `mend` are the pattern's groups."""

    pattern: str
    mend: str


UNSHOWN = (
    Unshown(r"Missing argument: (\w+)", 'write it in the deploy stage: values: {{{0}: …}}, an image as "{{reference}}"'),
    Unshown(r"function has no parameter (\w+)", "take {0} out of the deploy stage's `values`, or make it a parameter of the function"),
    Unshown(r"Undefined external variable: (\S+)", "write it in the deploy stage: external: {{{0}: …}}"),
    Unshown(r"Couldn't open import \"([^\"]*)\"", "put {0} beside the file that imports it, or name its folder in `libraries`"),
    Unshown(r"Looking for kubernetes object at \"([^\"]*)\"", "{0} is neither an object with apiVersion and kind nor a collection of such"),
    Unshown(r"duplicate resource", "two objects of one kind have one name: rename one"),
)


def changes(text: str) -> Iterator[tuple[str, list[str]]]:
    """(object, its lines with + and -) of what `diff` printed; ["+"] for an object that is new, ["~"] for a Secret: --omit-secrets hides
    values of letters and digits only, a slash in one is enough to show it."""
    for part in re.split(r"^--- live ", text, flags=re.MULTILINE)[1:]:
        name, _, body = part.partition("\n")
        lines = body.splitlines()
        if any(line.endswith(MISSING) for line in lines):
            yield name, ["+"]
        elif changed := [line for line in lines if line.startswith(("+", "-")) and not line.startswith("+++ ")]:
            yield name, ["~"] if name.startswith("secrets ") else changed


OWN = re.compile(r"(?:Error (?:updating|creating|deleting|fetching|patching|in) .+?: |ERROR |E\d{4} [\d:.]+ +\d+ [\w.]+:\d+\] )")


def own(text: str) -> Said:
    """Return kubecfg's complaints, one for each object that it could not update."""
    lines = text.splitlines()
    return Said(tuple(line[found.end() :] for line in lines if (found := OWN.match(line))), shown(lines, 4))


TOOL = Tool("kubecfg", kube_rules.RULES, own, "see the cause; kubecfg validate shows more")  # recorded outputs: tests/cases/kubecfg/
