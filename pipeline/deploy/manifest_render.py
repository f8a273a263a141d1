"""From a release's files to its objects: YAML with its words filled in, or jsonnet as kubecfg evaluates it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.artifacts import Images, content_hash
from pipeline.deploy import kustomize, manifest_check, manifest_images, manifest_words, values
from pipeline.deploy.manifest_files import Files
from pipeline.deploy.manifest_spec import Kubecfg, Kubectl, Manifests
from pipeline.deploy.values import Wanted
from pipeline.errors import ConfigError
from pipeline.host import Cmd
from pipeline.host.local import LocalHost
from pipeline.stage import Site
from pipeline.tools import goyaml, kubecfg, placeholders
from pipeline.yamlfile import Document

SHOW = 60.0  # seconds the evaluation may take
BREAK = re.compile(r"^---(?:[ \t].*)?$", re.MULTILINE)


def wanted(spec: Manifests, images: Images, files: Files, site: Site) -> Wanted:
    """The release as the blueprint wants it, nothing rendered yet: what it would be made from, by hashes.

    Raises ConfigError for an unknown word or value, AuthError where a secret cannot be read.
    """
    data = values.secret_data(spec.secret, site)
    mark = values.fingerprint(spec, data)
    words: dict[str, Any] = {**placeholders.words(images.source, images.images, site.app), **values.secret_words(spec, mark)}
    given: dict[str, Any] = {"values": placeholders.render(spec.values, words)}
    same: dict[str, Any] = {"values": placeholders.render(spec.values, values.unnamed(words))}
    if isinstance(spec, Kubecfg):
        given["external"] = placeholders.render(spec.external, words, "external")
        same["external"] = placeholders.render(spec.external, values.unnamed(words), "external")
        leaves = {name: content_hash(value)[:8] for name, value in placeholders.flat(given)}
    else:
        known = words | manifest_words.of_values(given["values"])
        used = {found[1] for name in files.filled for found in placeholders.IN_MANIFEST.finditer(files.text(name))}
        leaves = {word: content_hash(known[word])[:8] for word in sorted(used & known.keys())}
        given["words"] = known
        plain = values.unnamed(words) | manifest_words.of_values(same["values"])
        same = {word: plain[word] for word in sorted(used & plain.keys())}
    leaves |= {f"images.{each.name}": content_hash([each.name, each.newName])[:8] for each in spec.images}
    parts = {
        "manifests": files.digest,
        "images": sorted(image.reference for image in images.images),
        "secret": mark,
        "values": leaves,
    }
    return Wanted(given, data, parts, values.code_of([files.digest, parts["images"], same]))


def objects(spec: Manifests, want: Wanted, images: Images, files: Files, site: Site) -> list[dict[str, Any]]:
    """The objects to apply, checked and labelled. Raises ConfigError, with file and line where there is one."""
    if isinstance(spec, Kubecfg):
        found = _evaluated(spec, want.values, files, site)
    elif files.kustomized:
        found = kustomize.rendered(site.tool("kubectl"), site.root, spec.manifests, images)
    else:
        found = [each for name in files.entries for each in _filled(name, files, want.values["words"])]
    flat = list(manifest_check.flattened(found, spec.manifests))
    flat = manifest_images.replaced(flat, spec.images, images, placeholders.words(images.source, images.images, site.app))
    return manifest_check.check(flat, images, spec.namespace, spec.release)


def told(spec: Manifests, files: Files, site: Site) -> Iterator[str]:
    """What there is to tell of the files before anything is known of images. Raise ConfigError for what is no YAML, and for a word that
    no release has or that nobody would fill in."""
    found: list[Any] = []
    if files.kustomized:
        for each in kustomize.rendered(site.tool("kubectl"), site.root, spec.manifests, None):
            found.append(each)
            for path, word in ((path, word) for path, word, alone in placeholders.meant(each) if alone):
                where = f"{spec.manifests}: {manifest_check.called(each)}: {'.'.join(path)}"
                raise ConfigError(f"{where} is {{{word}}}, and kustomize fills nothing in", mend=manifest_check.IN_KUSTOMIZE)
    for name in () if isinstance(spec, Kubecfg) or files.kustomized else files.entries:
        for document in _documents(name, files.text(name)):
            found.append(document.data)
            yield from document.twice
            if name in files.filled:
                manifest_words.check(document.data, document.place, tuple(manifest_words.of_values(spec.values)))
            else:
                yield from manifest_words.left(document.data, document.place, name.rpartition("/")[2])
    if isinstance(spec, Kubectl):
        flat = list(manifest_check.flattened(found, spec.manifests))
        manifest_images.check(flat, spec.images)
        if not files.filled:  # of what is not filled in yet, less is known
            manifest_check.check(flat, None, spec.namespace, spec.release)


def _filled(name: str, files: Files, words: Mapping[str, Any]) -> Iterator[Any]:
    for document in _documents(name, files.text(name)):
        yield manifest_words.filled(document.data, words, document.place) if name in files.filled else document.data


def _documents(name: str, text: str) -> Iterator[Document]:
    """The documents of a manifest, as kubectl reads them."""
    for line, part in _parts(text):
        yield from goyaml.documents("\n" * line + part, name)  # so that its lines are the file's


def _parts(text: str) -> Iterator[tuple[int, str]]:
    """(lines before it, text) of each document of a YAML file; a line of --- at the left begins one, whatever it stands in."""
    start = 0
    for end in [*(found.start() for found in BREAK.finditer(text)), len(text)]:
        part = text[start:end]
        if part.strip():
            yield text.count("\n", 0, start), BREAK.sub("", part, count=1) if BREAK.match(part) else part
        start = end


def _evaluated(spec: Kubecfg, given: Mapping[str, Any], files: Files, site: Site) -> list[Any]:
    program = site.tool("kubecfg")
    argv = kubecfg.show(program, files.entries, given["values"], given["external"], spec.libraries)
    environment = {"KUBECFG_JPATH": "", "KUBECONFIG": os.devnull}
    output = LocalHost().run(Cmd(argv, env=environment, cwd=str(site.root), timeout=SHOW, secret=True))
    if output.code in (126, 127):
        raise ConfigError(f"{program} cannot be run", cause=output.errors, mend=kubecfg.INSTALL)
    if not output.ok:
        raise kubecfg.unshown(output.errors, str(site.root))
    return kubecfg.objects(output.stdout.decode())
