"""Image automation: the objects by which Flux itself finds the newest images and writes them, and the markers of the lines it writes.

Kinds and fields: the CRDs of image-reflector-controller 1.1, and the types of image-automation-controller/api 1.2, all of
image.toolkit.fluxcd.io/v1.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import ConfigError
from pipeline.gitops.spec import Automation, Newest
from pipeline.stage import Registry
from pipeline.tools.markers import Marker, Part
from pipeline.tools.placeholders import OF_AN_IMAGE, WORD
from pipeline.tools.tags import sanitised

# what Flux can write is a whole value: one fact of the newest image, or all of its reference
WHOLE: Mapping[str, Part] = {"{tag}": "tag", "{repository}": "name", "{digest}": "digest", "{reference}": "", "{repository}:{tag}": "",
                             "{repository}@{digest}": ""}  # fmt: skip
STAGE = "stages.deploy.values"
PART_OF = "app.kubernetes.io/part-of"
# of signatures, and of what refers to an image where a registry has no other place for it (OCI distribution specification 1.1)
EXCLUDED = ("^.*\\.sig$", "^sha256-")
MESSAGE = """\
{release}: newest images, by Flux

{{{{ range .Changed.Changes -}}}}
{{{{ .OldValue }}}} -> {{{{ .NewValue }}}}
{{{{ end -}}}}
"""


@dataclass(frozen=True)
class Place:
    """Where Flux writes: `release` is the HelmRelease's name, `file` the repository's file that holds it, `branch` what Flux follows,
    `system` the namespace of Flux's own objects and `source` the GitRepository there."""

    app: str
    release: str
    file: str
    branch: str
    system: str = "flux-system"
    source: str = "flux-system"

    @property
    def folder(self) -> str:
        return self.file.rpartition("/")[0]

    def policy(self, image: str) -> str:
        """The name of an image's ImageRepository and ImagePolicy, this release's alone in a namespace that all share."""
        return image if image == self.release or image.startswith(f"{self.release}-") else f"{self.release}-{image}"


def files(spec: Automation, place: Place, registries: Mapping[str, Registry]) -> dict[str, str]:
    """The manifests, by their path in the GitOps repository: one file, image-automation.yaml beside the HelmRelease's.

    `registries` are the site's: one that speaks plain http is watched so.
    """
    plain = {each.address for each in registries.values() if each.scheme == "http"}
    manifests = [
        part for name, image in spec.images.items() for part in (_repository(spec, place, name, image, plain), _policy(spec, place, name))
    ]
    objects = "---\n".join([*manifests, _update(spec, place)])
    text = f"""# Made by `inv flux.init`; what you change here is kept.
# Flux looks for the newest image of each policy, and writes it on the lines of {place.file.rpartition("/")[2]} that name the policy.
# It needs image-reflector-controller, image-automation-controller, and a key that may write: inv flux.bootstrap sees to it.
{objects}"""
    return {f"{place.folder}/image-automation.yaml" if place.folder else "image-automation.yaml": text}


def marked(spec: Automation, place: Place, values: Mapping[str, Any]) -> dict[tuple[str, ...], Marker]:
    """The marker of each line that is Flux's, by its path below spec.values; `values` are those of the deploy stage, not rendered.

    The comment at the end of that line is `str(marker)`. Raises ConfigError for a line of which Flux can only write a part, for one that
    nobody would write any more ({commit}), and for an image that no line names.
    """
    found: dict[tuple[str, ...], Marker] = {}
    for path, text, listed in _texts(values, ()):
        words = [word[1] for word in WORD.finditer(text) if word[1] not in (None, "app")]
        if not words:
            continue
        where = f"{STAGE}.{'.'.join(path)}"
        name = _image(spec, words, where)
        short = text.replace(f"{{{name}.", "{")
        if short not in WHOLE or listed:
            raise ConfigError(
                f"{where}: Flux cannot write {text!r}{' within a list' if listed else ''}",
                cause="gitops.automation lets it write the lines that name an image, and it writes whole values only",
                mend=f"give {name} lines of their own: {', '.join(WHOLE)}",
            )
        if WHOLE[short] == "digest" and spec.newest(name).digest == "never":
            raise ConfigError(
                f"{where}: the digest of {name} is never asked for", mend=f"say digest: once in gitops.automation.policies.{name}"
            )
        found[path] = Marker(place.system, place.policy(name), WHOLE[short])
    named = {marker.policy for marker in found.values()}
    if missing := next((name for name in spec.images if place.policy(name) not in named), ""):
        raise ConfigError(
            f"gitops.automation.images.{missing}: no line of {STAGE} names {missing}",
            mend=f'write one, as image: {{tag: "{{{missing}.tag}}", digest: "{{{missing}.digest}}"}}, or leave the image out',
        )
    return found


def _image(spec: Automation, words: list[str], where: str) -> str:
    """The one image that all words are of. Raises ConfigError for a word that only a release knows."""
    names = set()
    for word in words:
        name, _, fact = word.rpartition(".")
        name = name or (next(iter(spec.images)) if len(spec.images) == 1 and fact in OF_AN_IMAGE else "")
        if fact not in OF_AN_IMAGE or name not in spec.images:
            told = f"of {name}, which gitops.automation does not watch," if name else "of a release"
            raise ConfigError(
                f"{where}: nobody would write {{{word}}} any more",
                cause=f"it is {told} and with gitops.automation there are no releases: Flux writes the lines of its images, and no other",
                mend=f"add {name} to gitops.automation.images"
                if name
                else "take that line out (null in the overlay that turns automation on)",
            )
        names.add(name)
    if len(names) > 1:
        raise ConfigError(
            f"{where} names two images: {', '.join(sorted(names))}", mend="give each a line of its own: Flux writes one per line"
        )
    return names.pop()


def _texts(value: Any, path: tuple[str, ...], listed: bool = False) -> Iterator[tuple[tuple[str, ...], str, bool]]:
    """Each text with its path, and whether it stands within a list."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item, (*path, str(key)), listed)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _texts(item, (*path, str(number)), True)
    elif isinstance(value, str):
        yield path, value, listed


def _head(kind: str, name: str, place: Place) -> str:
    return f"""apiVersion: image.toolkit.fluxcd.io/v1
kind: {kind}
metadata:
  name: {name}
  namespace: {place.system}
  labels:
    {PART_OF}: {place.release}
spec:
"""


def _repository(spec: Automation, place: Place, name: str, image: str, plain: set[str]) -> str:
    insecure = "  insecure: true # the site says that this registry speaks plain http\n" if image.partition("/")[0] in plain else ""
    secret = f"  secretRef:\n    name: {spec.secrets[name]}\n" if name in spec.secrets else ""
    excluded = "".join(f"    - {json.dumps(pattern)}\n" for pattern in EXCLUDED)
    return f"""{_head("ImageRepository", place.policy(name), place)}  image: {image}
  interval: {spec.interval}
  exclusionList: # signatures, and what refers to an image: no images of their own
{excluded}{insecure}{secret}"""


def _policy(spec: Automation, place: Place, name: str) -> str:
    newest = spec.newest(name)
    policy = place.policy(name)
    digest = {"once": "IfNotPresent", "always": f"Always\n  interval: {spec.interval}", "never": "Never"}[newest.digest]
    return f"""{_head("ImagePolicy", policy, place)}  imageRepositoryRef:
    name: {policy}
{_filter(newest)}  policy:
{_order(newest)}  digestReflectionPolicy: {digest}
"""


def _filter(newest: Newest) -> str:
    if newest.range and not newest.pattern:
        return ""
    pattern, extract = newest.pattern, newest.extract
    if not pattern:
        pattern, extract = f"^{sanitised(newest.branch).replace('.', '[.]')}-[a-f0-9]+-(?P<ts>[0-9]+)$", "$ts"
    taken = f"    extract: {json.dumps(extract)}\n" if extract else ""
    return f"  filterTags:\n    pattern: {json.dumps(pattern)}\n{taken}"


def _order(newest: Newest) -> str:
    if newest.range:
        return f"    semver:\n      range: {json.dumps(newest.range)}\n"
    return f"    {newest.order}:\n      order: asc\n"


def _update(spec: Automation, place: Place) -> str:
    person, _, mail = spec.author.rstrip(">").partition(" <")
    message = "".join(f"        {line}".rstrip() + "\n" for line in MESSAGE.format(release=place.release).splitlines())
    return f"""{_head("ImageUpdateAutomation", place.release, place)}  interval: {spec.interval}
  sourceRef:
    kind: GitRepository
    name: {place.source}
  policySelector:
    matchLabels:
      {PART_OF}: {place.release}
  git:
    checkout:
      ref:
        branch: {json.dumps(place.branch)}
    commit:
      author:
        name: {json.dumps(person)}
        email: {json.dumps(mail)}
      messageTemplate: |
{message}    push:
      branch: {json.dumps(spec.push_branch or place.branch)}
  update:
    strategy: Setters
    path: ./{place.folder}
"""
