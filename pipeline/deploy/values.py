"""From a blueprint's values to what helm is given, and to the hash that says whether anything changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.artifacts import Images, content_hash
from pipeline.deploy import layers
from pipeline.deploy.spec import Helm, SecretSpec, Spec
from pipeline.errors import ConfigError
from pipeline.secrets import SOURCES
from pipeline.stage import Site
from pipeline.tools import placeholders

SCHEMES = tuple(source.partition(":")[0] for source in SOURCES)
ROUNDS = 10_000  # makes a guess at a short secret from its fingerprint costly, at 3 ms a look
LENGTH = 40  # of `inputs`: a label's value may have 63 characters


@dataclass(frozen=True)
class Wanted:
    """A release as the blueprint wants it: rendered `values`, the Secret's `data` (revealed), and `parts`, the hashes of each input.

    `code` names what would run, and leaves out what only says where it came from: two commits, git tags or Secrets may have one code.
    `files` are the texts of which helm makes the values itself, the one that counts most last.
    """

    values: Mapping[str, Any]
    data: Mapping[str, str]
    parts: Mapping[str, Any]
    code: str = ""
    files: tuple[str, ...] = ()

    @property
    def inputs(self) -> str:
        return content_hash(self.parts)[:LENGTH]

    def __repr__(self) -> str:
        return f"Wanted({self.inputs})"


def wanted(spec: Helm, images: Images, chart: str, site: Site) -> Wanted:
    """Render the release; `chart` names the chart's content.

    Raises ConfigError for an unknown placeholder or value or a values file that is wrong, AuthError where a secret cannot be read.
    """
    data = secret_data(spec.secret, site)
    mark = fingerprint(spec, data)
    words = placeholders.words(images.source, images.images, site.app) | secret_words(spec, mark)
    layered = layers.read(site.root, spec.values_files, spec.values)
    own = placeholders.render(spec.values, words)
    values = layered.merged(own)
    same = dict(placeholders.flat(layered.merged(placeholders.render(spec.values, unnamed(words)))))
    leaves = {name: content_hash(value)[:8] for name, value in placeholders.flat(values)}
    parts = {
        "chart": chart,
        "images": sorted(image.reference for image in images.images),
        "secret": mark,
        "values": leaves,
    }
    return Wanted(values, data, parts, code_of([chart, parts["images"], same]), (*layered.texts, json.dumps(own, indent=1)))


def unnamed(words: Mapping[str, Any]) -> dict[str, Any]:
    """The words, those empty that name a commit, a tag or a Secret."""
    naming = {"commit", "short", "label", "secret", "tag"}
    return {name: "" if {name, name.rpartition(".")[2]} & naming else word for name, word in words.items()}


def code_of(made_of: Any) -> str:
    """The name of a code, fit for a label."""
    return content_hash(made_of)[:LENGTH]


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between the parts of two releases, in words."""
    found = []
    if old.get("images") != new["images"]:
        before = {str(reference) for reference in old.get("images") or []}
        found += [
            f"image {_short(was)} is live, {_short(now)} is wanted"
            for was, now in zip(sorted(before - set(new["images"])) or ["none"], sorted(set(new["images"]) - before), strict=False)
        ]
    had, has = old.get("values") or {}, new["values"]
    names = sorted(name for name in had.keys() | has.keys() if had.get(name) != has.get(name))
    names = [name for name in names if name.rpartition(".")[2] not in ("digest", "tag")] or names
    if names and not (found and all(name.startswith("image.") for name in names)):
        found.append("values changed: " + ", ".join(names[:5]) + (" …" if len(names) > 5 else ""))
    if old.get("manifests", new.get("manifests")) != new.get("manifests"):
        found.append("the manifests changed")
    if old.get("chart", new.get("chart")) != new.get("chart"):  # what is not known does not differ
        was, now = (str(parts.get("chart") or "") for parts in (old, new))
        both = "@" in was and "@" in now
        found.append(f"chart {_version(was)} is live, {_version(now)} is wanted" if both else "the chart changed")
    if old.get("secret", new["secret"]) != new["secret"]:
        found.append("the secret changed")
    return found


def secret_data(spec: SecretSpec | None, site: Site) -> dict[str, str]:
    """The Secret's values byte for byte (see `pipeline.secrets.Secret.content`), read now.

    Raises ConfigError for a value the site does not have, AuthError for a source that gives none.
    """
    data = {}
    for key, source in (spec.data if spec else {}).items():
        if source.startswith("value:"):
            name = source.removeprefix("value:")
            if name not in site.values:
                known = ", ".join(sorted(site.values)) or "none"
                raise ConfigError(f"secret.data.{key}: the site has no value {name!r}", mend=f"add it to the site file; there are: {known}")
            source = site.values[name]
            if not source.startswith(tuple(f"{scheme}:" for scheme in SCHEMES)):
                site.secrets.guard(source)
                data[key] = source
                continue
        data[key] = site.secrets.get(source).content()
    return data


def fingerprint(spec: Spec, data: Mapping[str, str]) -> str:
    """Names the Secret's content without giving it away, "" where there is none."""
    if spec.secret is None:
        return ""
    text = json.dumps(sorted(data.items())).encode()
    salt = f"{spec.namespace}/{spec.secret.name}".encode()
    return hashlib.pbkdf2_hmac("sha256", text, salt, ROUNDS).hex()[:16]


def secret_name(spec: Spec, mark: str) -> str:
    """Return what the Secret of the content `mark` is called: its name, and a hash behind it that no other release shares."""
    plain = spec.secret.name if spec.secret else ""
    return f"{plain[:242]}-{content_hash([spec.release, mark])[:10]}"


def secret_words(spec: Spec, mark: str) -> dict[str, str]:
    """Return what may stand in braces of the Secret: {secret}, its mark, and {secret.name}, the name that its content alone has."""
    return {"secret": mark} | ({"secret.name": secret_name(spec, mark)} if spec.secret else {})


def _version(chart: str) -> str:
    version, _, digest = chart.partition("@")
    return f"{version} ({digest[:19]}…)"


def _short(reference: str) -> str:
    return reference.rpartition("@")[2][:19] + "…" if "@" in reference else reference
