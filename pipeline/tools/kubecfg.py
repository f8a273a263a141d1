"""kubecfg's command line: what to call, and what its output means. Recorded outputs: tests/cases/kubecfg/"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline import jsontext
from pipeline.environment import KUBE, passed
from pipeline.errors import Ambiguous, AuthError, ConfigError, PipelineError, ResourceError, Transient
from pipeline.tools import kube_login
from pipeline.tools.helm import QUOTED
from pipeline.tools.kube_status import DENIED, FULL, QUOTA
from pipeline.tools.kubectl import FIXED, LOST, UNKNOWN_USER, Argv, Target, common

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
    for pattern, mend in UNSHOWN:
        if found := re.search(pattern, said):
            return ConfigError(f"{where}: {said}", cause="\n".join(lines[1:6]), mend=mend.format(*found.groups()))
    return ConfigError(f"{where}: {said}", cause="\n".join(lines[1:6]), mend="correct the manifests: kubecfg show evaluates them")


UNSHOWN = (
    (r"^Missing argument: (\w+)", 'write it in the deploy stage: values: {{{0}: …}}, an image as "{{reference}}"'),
    (r"^function has no parameter (\w+)", "take {0} out of the deploy stage's `values`, or make it a parameter of the function"),
    (r"^Undefined external variable: (\S+)", "write it in the deploy stage: external: {{{0}: …}}"),
    (r"^Couldn't open import \"([^\"]*)\"", "put {0} beside the file that imports it, or name its folder in `libraries`"),
    (r"^Looking for kubernetes object at \"([^\"]*)\"", "{0} is neither an object with apiVersion and kind nor a collection of such"),
    (r"^duplicate resource", "two objects of one kind have one name: rename one"),
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


# The first that fits counts
MEANINGS: tuple[tuple[str, type[PipelineError], str, str], ...] = (
    (LOST, Transient, "kubecfg lost the Kubernetes API", ""),
    (UNKNOWN_USER, AuthError, "the Kubernetes API does not know these credentials", "renew the kubeconfig of this cluster"),
    (QUOTA, ResourceError, "a quota of the namespace is used up", FULL),
    (DENIED, AuthError, "the Kubernetes API forbids what the manifests need", "grant this user what the cause names"),
    (r"(?i)forbidden", ConfigError, "a rule of the cluster refuses the manifests", "correct what the cause names"),
    (FIXED, ConfigError, "the manifests change a field that cannot change", "rename the object, or delete it first"),
    (r"is invalid:|not found", ConfigError, "the cluster refused the manifests", "correct what the cause names"),
)


def failure(code: int, text: str) -> PipelineError:
    """The error that an `update` with exit `code` means. What is not known is Ambiguous: the next look tells what came of it."""
    lines = [line for line in text.splitlines() if line.strip()]
    evidence = "\n".join(lines[-4:])
    if code < 0:
        return Ambiguous(f"kubecfg was ended by signal {-code}", cause=evidence)
    said = QUOTED.sub('""', text)
    for pattern, kind, what, mend in MEANINGS:
        if re.search(pattern, said):
            if pattern == DENIED:
                return kube_login.forbidden(what, evidence, mend)
            return kind(what, cause=evidence, mend=mend)
    return Ambiguous(f"kubecfg failed (exit {code})", cause=evidence)
