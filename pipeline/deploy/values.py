"""From a blueprint's values to what helm is given, and to the hash that says whether anything changed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.artifacts import Images, content_hash
from pipeline.deploy import layers
from pipeline.deploy.spec import Helm, SecretSpec, Spec
from pipeline.errors import ConfigError
from pipeline.secrets import SOURCES
from pipeline.stage import Site
from pipeline.yamlfile import keys_like

WORD = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")
SCHEMES = tuple(source.partition(":")[0] for source in SOURCES)
ROUNDS = 10_000  # makes a guess at a short secret from its fingerprint costly, at 3 ms a look
DEPTH = 50
OF_THE_SOURCE = ("app", "commit", "short")
OF_AN_IMAGE = ("repository", "digest", "tag", "reference")  # bare where there is one image, else behind the image's name and a dot
OF_THE_SECRET = ("secret", "secret.name")
LENGTH = 40  # of `inputs`: a label's value may have 63 characters


@dataclass(frozen=True)
class Wanted:
    """A release as the blueprint wants it: rendered `values`, the Secret's `data` (revealed), and `parts`, the hashes of each input.

    `code` names what would run, and leaves out what only says where it came from: two commits, git tags or Secrets may have one code.
    """

    values: Mapping[str, Any]
    data: Mapping[str, str]
    parts: Mapping[str, Any]
    code: str = ""

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
    words = placeholders(images, site.app) | secret_words(spec, mark)
    layered = layers.read(site.root, spec.values_files, spec.values)
    values = layered.merged(lambda text, place: render(text, words, place))
    same = dict(flat(layered.merged(lambda text, place: render(text, unnamed(words), place))))
    leaves = {name: content_hash(value)[:8] for name, value in flat(values)}
    parts = {
        "chart": chart,
        "images": sorted(image.reference for image in images.images),
        "secret": mark,
        "values": leaves,
    }
    return Wanted(values, data, parts, code_of([chart, parts["images"], same]))


def unnamed(words: Mapping[str, Any]) -> dict[str, Any]:
    """The words, those empty that name a commit, a tag or a Secret."""
    return {name: "" if name in ("commit", "short", "secret") or name.rpartition(".")[2] == "tag" else word for name, word in words.items()}


def code_of(made_of: Any) -> str:
    """The name of a code, fit for a label."""
    return content_hash(made_of)[:LENGTH]


def placeholders(images: Images, app: str) -> dict[str, str]:
    """What may stand in braces: {app}, {commit}, {short}, and of each image {web.repository}, {web.digest}, {web.tag}, {web.reference}
    (by digest), `web` being the last word of its repository, or its whole path where two end alike. Of a single image the name may be
    left out."""
    source = images.source
    words = {"app": app, "commit": source.commit, "short": source.label}
    lasts = [image.repository.rpartition("/")[2] for image in images.images]
    for image, last in zip(images.images, lasts, strict=True):
        name = last if lasts.count(last) == 1 else image.repository.partition("/")[2]
        facts = dict(zip(OF_AN_IMAGE, (image.repository, image.digest, image.tag, image.reference), strict=True))
        words |= {f"{name}.{key}": value for key, value in facts.items()}
        if len(images.images) == 1:
            words |= facts
    return words


def check_words(value: Any, path: str, others: tuple[str, ...] = ()) -> None:
    """Raise ConfigError for a placeholder in `value` that no image could fill, with its place below `path`, before any image is known.
    `others` are known to the caller alone, as {secret} is to helm's driver."""
    known = (*OF_THE_SOURCE, *OF_AN_IMAGE, *others)
    for name, text in flat(value, path):
        for found in WORD.finditer(text) if isinstance(text, str) else ():
            word = found[1]
            if word is None or word in known or (word.rpartition(".")[0] and word.rpartition(".")[2] in OF_AN_IMAGE):
                continue  # {{ and }} are the braces themselves
            raise unknown(name, word, known)


def unknown(path: str, word: str, known: Iterable[str]) -> ConfigError:
    """The error of a {word} that is not `known`, with the near one."""
    near = keys_like(word, list(known))
    name, dot, fact = word.rpartition(".")
    if not near and dot:
        near = keys_like(fact, list(OF_AN_IMAGE)).replace("'", f"'{name}.", 1)
    words = ", ".join("{" + each + "}" for each in sorted(known))
    return ConfigError(f"{path}: {{{word}}} is not known{near}", mend=f"known are {words}; a brace itself is written {{{{ or }}}}")


def render(value: Any, words: Mapping[str, str], path: str = "values", depth: int = 0) -> Any:
    """`value` with every {word} replaced; {{ and }} stand for the braces themselves. Raises ConfigError naming the place."""
    if depth > DEPTH:
        raise ConfigError(f"{path[:200]}… is nested too deeply", mend="values are at most 50 levels deep")
    if isinstance(value, Mapping):
        return {str(key): render(item, words, f"{path}.{key}", depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [render(item, words, f"{path}.{index}", depth + 1) for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replaced(match: re.Match[str]) -> str:
        if match[0] in ("{{", "}}"):
            return match[0][0]
        if match[1] not in words:
            raise unknown(path, match[1], words)
        return words[match[1]]

    return WORD.sub(replaced, value)


def flat(values: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each leaf with its dotted name."""
    if isinstance(values, Mapping) and values:
        for key, value in values.items():
            yield from flat(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, values


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
    if old.get("manifests") != new.get("manifests"):
        found.append("the manifests changed")
    if old.get("chart") != new.get("chart"):
        was, now = (str(parts.get("chart") or "") for parts in (old, new))
        both = "@" in was and "@" in now
        found.append(f"chart {_version(was)} is live, {_version(now)} is wanted" if both else "the chart changed")
    if old.get("secret") != new["secret"]:
        found.append("the secret changed")
    return found


def secret_data(spec: SecretSpec | None, site: Site) -> dict[str, str]:
    """The Secret's values, read now. Raises ConfigError for a value the site does not have, AuthError for a source that gives none."""
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
        data[key] = site.secrets.get(source).reveal()
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
