"""Where an image comes from, told by the registry itself: an in-toto statement with SLSA provenance that refers to the image.

Sources: in-toto Statement v1 (github.com/in-toto/attestation, spec/v1/statement.md), SLSA build provenance v1 (slsa.dev/spec/v1.0),
referrers and their fallback tag (OCI distribution specification 1.1, "Referrers Tag Schema"). It is not signed: it tells whoever
trusts the registry, and proves nothing to who does not.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import json
from typing import Any

from pipeline import jsontext
from pipeline.artifacts import Bundle, Image
from pipeline.errors import IntegrityError, PipelineError
from pipeline.records import actor
from pipeline.stage import Site
from pipeline.tools import references
from pipeline.tools.registry import Client, Manifest, client_of

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:pipeline:build:nix:v1"  # names what externalParameters mean; nothing is fetched from it
KIND = "application/vnd.in-toto+json"
EMPTY = "application/vnd.oci.empty.v1+json"
MANIFEST, INDEX = "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"
LARGEST = 1 << 20  # bytes of a statement
MOST = 20  # statements that are read of one image


def statement(bundle: Bundle, repository: str, digest: str, app: str) -> dict[str, Any]:
    """What is known of how the image came about. Where the tree is not the commit's, the commit is named as what it stands on only."""
    source = bundle.source
    made_of = {"gitTree": source.tree} if source.dirty else {"gitCommit": source.commit, "gitTree": source.tree}
    outside = {"app": app, "commit": source.commit, "tree": source.tree, "dirty": source.dirty}
    inside = {"derivation": bundle.drv, "storePath": bundle.store_path, "narHash": bundle.nar_hash, "pushedBy": actor()}
    builder = {"id": f"urn:pipeline:host:{bundle.host}", "version": _version()}
    return {
        "_type": STATEMENT,
        "subject": [{"name": repository, "digest": _hex(digest)}],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": outside,
                "internalParameters": {key: value for key, value in inside.items() if value},
                "resolvedDependencies": [{"name": app, "digest": made_of}],
            },
            "runDetails": {"builder": builder, "byproducts": [{"name": "config", "digest": _hex(bundle.config)}]},
        },
    }


def attach(client: Client, repository: str, image: Manifest, bundle: Bundle, site: Site) -> None:
    """Let the statement refer to `image`, once. Raises what the registry's client raises; a statement that is there stays as it is."""
    where = f"{client.origin.address}/{repository}"
    body = json.dumps(statement(bundle, where, image.digest, site.app), sort_keys=True, separators=(",", ":")).encode()
    layer = {"mediaType": KIND, "digest": references.digest_of(body), "size": len(body)}
    listed = _listed(client, repository, image.digest)
    if any(_layer(client, repository, str(each.get("digest"))) == layer["digest"] for each in listed):
        return
    client.put_blob(repository, body)
    config = b"{}"
    subject = {"mediaType": image.media_type, "digest": image.digest, "size": len(image.body)}
    now = datetime.datetime.fromtimestamp(site.clock.now(), datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    notes = {"org.opencontainers.image.created": now, "in-toto.io/predicate-type": PREDICATE}
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": KIND, "subject": subject, "annotations": notes, "layers": [layer],
        "config": {"mediaType": EMPTY, "digest": client.put_blob(repository, config), "size": len(config)},
    }).encode()  # fmt: skip
    if client.put_referrer(repository, manifest, MANIFEST):
        return
    named = references.digest_of(manifest)
    entry = {"mediaType": MANIFEST, "digest": named, "size": len(manifest), "artifactType": KIND, "annotations": notes}
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [*_tagged(client, repository, image.digest), entry]}).encode()
    client.put_manifest(repository, tag(image.digest), Manifest(references.digest_of(index), INDEX, index, "", ()))


def detach(client: Client, repository: str, digest: str) -> None:
    """Take away what `attach` has let refer to an image; what others have stays. Raises what the registry's client raises."""
    answer = client.referrers(repository, digest)
    listed = _tagged(client, repository, digest) if answer is None else _entries(answer)
    ours = [str(each.get("digest")) for each in listed if _is_ours(client, repository, str(each.get("digest")))]
    for each in ours:
        client.delete(repository, each)
    index = client.head(repository, tag(digest)) if len(ours) == len(listed) else None
    if index:
        client.delete(repository, index)


def statements(client: Client, repository: str, digest: str) -> list[dict[str, Any]]:
    """The provenance statements about an image, newest last; those about something else, and what is none, left out."""
    found = []
    for each in _listed(client, repository, digest)[-MOST:]:
        with contextlib.suppress(IntegrityError, ValueError, KeyError, TypeError, AttributeError):
            blob = _layer(client, repository, str(each.get("digest")))
            value = jsontext.loads((client.fetch(repository, blob, LARGEST) if blob else None) or b"")
            named = {subject["digest"]["sha256"] for subject in value["subject"]}
            if value["_type"] == STATEMENT and value["predicateType"] == PREDICATE and digest.removeprefix("sha256:") in named:
                found.append(value)
    return found


def trees(client: Client, repository: str, digest: str) -> set[str]:
    """The git trees that an image was made of, as its statements say. Raises what the registry's client raises."""
    found = set()
    for each in statements(client, repository, digest):
        with contextlib.suppress(KeyError, TypeError):
            definition = each["predicate"]["buildDefinition"]
            if definition["buildType"] == BUILD_TYPE:
                found.add(str(definition["externalParameters"]["tree"]))
    return found


def statements_of(image: Image, site: Site) -> list[dict[str, Any]]:
    """`statements` of an image in one of the site's registries. Where it cannot be asked, one entry says why: {"error": …}."""
    for name, registry in site.registries.items():
        if image.repository.startswith(f"{registry.address}/"):
            try:
                return statements(client_of(site, name), image.repository.removeprefix(f"{registry.address}/"), image.digest)
            except PipelineError as error:
                return [{"error": error.what}]
    return []


def tag(digest: str) -> str:
    """The tag under which a registry without a list of referrers keeps the index of them."""
    return references.tag(digest.replace(":", "-"))


def _listed(client: Client, repository: str, digest: str) -> list[dict[str, Any]]:
    answer = client.referrers(repository, digest)
    entries = _tagged(client, repository, digest) if answer is None else _entries(answer)
    return [entry for entry in entries if entry.get("artifactType") in (KIND, None)]


def _tagged(client: Client, repository: str, digest: str) -> list[dict[str, Any]]:
    found = client.manifest(repository, tag(digest))
    return _entries(found.body) if found else []


def _entries(index: bytes) -> list[dict[str, Any]]:
    try:
        found = jsontext.loads(index).get("manifests") or []
    except (ValueError, AttributeError) as error:
        raise IntegrityError("the registry's list of referrers is not an index", cause=str(error)) from error
    return [entry for entry in found if isinstance(entry, dict)]


def _layer(client: Client, repository: str, digest: str) -> str:
    """The digest of a referrer's one layer, "" where it has not exactly one."""
    manifest = client.manifest(repository, references.digest(digest))
    return manifest.layers[0][0] if manifest and len(manifest.layers) == 1 else ""


def _is_ours(client: Client, repository: str, digest: str) -> bool:
    """Whether a referrer is a statement as `statement` makes it."""
    try:
        layer = _layer(client, repository, digest)
        value = jsontext.loads((client.fetch(repository, layer, LARGEST) if layer else None) or b"")
        return bool(value["predicate"]["buildDefinition"]["buildType"] == BUILD_TYPE)
    except (IntegrityError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _hex(digest: str) -> dict[str, str]:
    """A digest as in-toto writes it."""
    return {"sha256": digest.removeprefix("sha256:")}


def _version() -> dict[str, str]:
    """This program's version, where it is installed."""
    try:
        return {"pipeline": importlib.metadata.version("pipeline")}
    except importlib.metadata.PackageNotFoundError:
        return {}
