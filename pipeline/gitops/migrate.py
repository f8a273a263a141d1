"""Old versions of Flux's kinds in a GitOps repository rewritten to those that are served; every other byte stays.

What went away: the CRDs of source-controller 1.7, kustomize-controller 1.7 and helm-controller 1.4 beside each other, version by version;
of image automation the release notes of image-automation-controller 0.39 and 1.0. `flux migrate -f` changes the versions, and no fields.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.gitops.place import Place
from pipeline.gitops.schemas import GROUPS, VERSION, Schemas
from pipeline.gitops.validate import COMPONENTS
from pipeline.stage import Site
from pipeline.tools.gitops import Changes, Head
from pipeline.tools.gitops_message import Message, Trailers
from pipeline.tools.yamledit_tree import Node, parse

# what is served by Flux 2.7 and later, where no cluster says it
NOW = {
    "helm.toolkit.fluxcd.io": "v2", "source.toolkit.fluxcd.io": "v1", "kustomize.toolkit.fluxcd.io": "v1", "image.toolkit.fluxcd.io": "v1",
}  # fmt: skip
NOTIFICATION = {"Receiver": "v1", "Alert": "v1beta3", "Provider": "v1beta3"}
GONE = {  # fields that did nothing any more, by kind
    "Kustomization": (("spec", "validation"),),
    "GitRepository": (("spec", "gitImplementation"), ("spec", "accessFrom")),
    "Bucket": (("spec", "accessFrom"),),
    "HelmChart": (("spec", "accessFrom"),),
}
RENAMED = {"HelmRelease": ("spec", "chart", "spec", "valuesFile"), "HelmChart": ("spec", "valuesFile")}
BY_HAND = {  # fields that somebody has to write anew, by kind
    "Kustomization": ("patchesStrategicMerge", "patchesJson6902"),
    "HelmRelease": ("patchesStrategicMerge", "patchesJson6902"),
}
IMAGES = re.compile(r"(\{\{-?\s*range\s+)\.Updated\.Images(\s*-?\}\})(?P<body>.*?)(\{\{-?\s*end\s*-?\}\})", re.DOTALL)
DOT = re.compile(r"(\{\{-?\s*(?:println\s+|print\s+)?)\.(\s*-?\}\})")
TEMPLATE = ("spec", "git", "commit", "messageTemplate")


@dataclass(frozen=True)
class Change:
    """One file: its text `before` and `after`, and `what` was done, with lines."""

    path: str
    before: str
    after: str
    what: tuple[str, ...]

    def lines(self) -> list[str]:
        """The same as a unified diff."""
        return list(difflib.unified_diff(self.before.splitlines(), self.after.splitlines(), self.path, self.path, lineterm="", n=1))


@dataclass(frozen=True)
class Outcome:
    """What was changed, in which commit ("" where none was made), and what is `left` to a person."""

    changes: tuple[Change, ...]
    left: tuple[str, ...] = ()
    commit: str = ""


@dataclass(frozen=True)
class Edit:
    """Letters `start` to `end` become `text`; `what` says so."""

    start: int
    end: int
    text: str
    what: str


def publish(place: Place, site: Site, served: Schemas, *, write: bool) -> Outcome:
    """Migrate the repository's branch by one commit; `write` false only looks. Raises as the repository does."""
    repository, found = place.repository(site), [Outcome(())]

    def change(head: Head) -> Changes:
        found.append(migrate({name: head.need(name) for name in head.names() if _candidate(name)}, served))
        return {each.path: each.after.encode() for each in found[-1].changes}

    if not write:
        change(repository.look())
        return found[-1]
    message = Message(f"{place.app}: current versions of Flux's kinds", "Made by `inv flux.migrate`.", Trailers(app=place.app))
    published = repository.publish(change, message)
    return Outcome(found[-1].changes, found[-1].left, published.commit if published.made else "")


def into(folder: Path, _place: Place, served: Schemas, *, write: bool) -> Outcome:
    """Migrate the files of a folder of this machine; `write` false only looks. Raises ConfigError where it cannot be read or written."""
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}", mend="--folder names a clone of the GitOps repository")
    names = [file.relative_to(folder).as_posix() for file in sorted(folder.rglob("*.y*ml")) if ".git" not in file.relative_to(folder).parts]
    try:
        outcome = migrate({name: (folder / name).read_bytes() for name in names if _candidate(name)}, served)
        for each in outcome.changes if write else ():
            (folder / each.path).write_bytes(each.after.encode())
    except OSError as error:
        raise ConfigError(f"{folder} cannot be migrated", cause=str(error), mend="run it again: what is done is found") from error
    return outcome


def migrate(files: Mapping[str, bytes], served: Schemas) -> Outcome:
    """What has to be done to these files. Where `served` knows a kind, its newest version counts, else that of a current Flux."""
    changes, left = [], []
    charts = {name.removesuffix("Chart.yaml") for name in files if name.endswith("Chart.yaml")}
    for name, body in sorted(files.items()):
        if GROUPS[1:].encode() not in body or any(name.startswith(f"{chart}templates/") for chart in charts):
            continue  # nothing of Flux's, or no YAML before Helm has rendered it
        try:
            text = body.decode()
            edits, words = _document_edits(name, text, served)
        except (ConfigError, UnicodeDecodeError) as error:
            left.append(f"{name} cannot be read: {error}")
            continue
        left += words
        if edits:
            changes.append(Change(name, text, _applied(text, edits), tuple(edit.what for edit in edits)))
    return Outcome(tuple(changes), tuple(left))


def target(group: str, kind: str, served: Schemas) -> str:
    """The version that a kind shall have, "" where nobody knows."""
    known = served.versions(group, kind)
    if known:
        return known[0]
    return NOTIFICATION.get(kind, "") if group == "notification.toolkit.fluxcd.io" else NOW.get(group, "")


def _candidate(name: str) -> bool:
    return name.endswith((".yaml", ".yml")) and not name.endswith(f"/{COMPONENTS}")


def _document_edits(name: str, text: str, served: Schemas) -> tuple[list[Edit], list[str]]:
    edits: list[Edit] = []
    left: list[str] = []
    for document in parse(text, name).documents:
        api, kind = _text(document, ("apiVersion",)), _text(document, ("kind",))
        if api is None or kind is None or api.form != "scalar":
            continue
        group, _, version = api.text.rpartition("/")
        wanted = target(group, kind.text, served) if group.endswith(GROUPS) else ""
        if not wanted or _age(version) >= _age(wanted):
            continue
        quote = api.style if api.style in ("'", '"') else ""
        edits.append(Edit(api.start, api.end, f"{quote}{group}/{wanted}{quote}", f"line {api.line}: {group}/{version} is {wanted} now"))
        for found in _fields(name, text, document, kind.text):
            if isinstance(found, Edit):
                edits.append(found)
            else:
                left.append(found)
    return edits, left


def _fields(name: str, text: str, document: Node, kind: str) -> Iterator[Edit | str]:
    for path in GONE.get(kind, ()):
        if (pair := _pair(document, path)) is not None:
            yield _removed(text, *pair) or f"{name}:{pair[0].line}: take {'.'.join(path)} out: it is not known any more"
    if kind in RENAMED and (pair := _pair(document, RENAMED[kind])) is not None:
        key, value = pair
        if _pair(document, (*RENAMED[kind][:-1], "valuesFiles")) is not None or value.style in ("|", ">"):
            yield f"{name}:{key.line}: put valuesFile as the first of valuesFiles, and take it out: it is not known any more"
        else:
            written = f"valuesFiles: [{text[value.start : value.end]}]"
            yield Edit(key.start, value.end, written, f"line {key.line}: valuesFile is the list valuesFiles now")
    for key in _keys(document, BY_HAND.get(kind, ())):
        yield f"{name}:{key.line}: write {key.text} as `patches`: it is not known any more (kustomize: patches take both forms)"
    if kind == "ImageUpdateAutomation" and (pair := _pair(document, TEMPLATE)) is not None:
        yield from _template(name, text, pair[1])


def _template(name: str, text: str, node: Node) -> Iterator[Edit | str]:
    """`.Updated` is `.Changed`, whose parts have other names; its images are changes, with a new value each."""
    old = text[node.start : node.end]
    new = IMAGES.sub(_images, old)
    new = new.replace(".Updated.Files", ".Changed.FileChanges").replace(".Updated.Objects", ".Changed.Objects")
    if new != old:
        yield Edit(node.start, node.end, new, f"line {node.line}: the message's .Updated is .Changed now")
        if ".Changed.FileChanges" in new or ".Changed.Objects" in new:
            yield f"{name}:{node.line}: look at the message: what .Changed lists are changes (.OldValue, .NewValue, .Setter), no images"
    if ".Updated" in new:
        yield f"{name}:{node.line}: write the message with .Changed: .Updated is not known any more, and stalls the automation"


def _images(found: re.Match[str]) -> str:
    body = DOT.sub(r"\1.NewValue\2", found["body"])
    return f"{found[1]}.Changed.Changes{found[2]}{body}{found[4]}"


def _removed(text: str, key: Node, value: Node) -> Edit | None:
    """The lines of a field taken out; None where it shares them with another."""
    begin = text.rfind("\n", 0, key.start) + 1
    end = text.find("\n", max(value.last(), key.end))
    end = len(text) if end < 0 else end + 1
    if key.flow or text[begin : key.start].strip():
        return None
    return Edit(begin, end, "", f"line {key.line}: {key.text} went away")


def _applied(text: str, edits: list[Edit]) -> str:
    for edit in sorted(edits, key=lambda each: each.start, reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def _pair(node: Node, path: tuple[str, ...]) -> tuple[Node, Node] | None:
    """The key and the value at a path."""
    for number, key in enumerate(path):
        pair = next((each for each in node.items if each[0].text == key), None) if node.form == "mapping" else None
        if pair is None or number == len(path) - 1:
            return pair
        node = pair[1]
    return None


def _keys(node: Node, names: tuple[str, ...]) -> Iterator[Node]:
    for key, _ in node.items:
        if key.text in names:
            yield key
    for value in node.values:
        yield from _keys(value, names)


def _text(document: Node, path: tuple[str, ...]) -> Node | None:
    pair = _pair(document, path)
    return pair[1] if pair and pair[1].form == "scalar" else None


def _age(version: str) -> tuple[int, int, int]:
    """Versions in the order in which they came: v1beta2, v1, v2beta1, v2."""
    found = VERSION.fullmatch(version)
    if found is None:
        return 0, 0, 0
    return int(found["major"]), {"alpha": 0, "beta": 1, None: 2}[found["stage"]], int(found["minor"] or 0)
