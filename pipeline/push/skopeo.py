"""Push with skopeo from the host that has the archive, through a relay that adds the credentials.

Alternative, not taken: where the host has python3 the relay could run there, and the bytes would not pass through this machine.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.artifacts import Bundle, Image, Images, Source
from pipeline.errors import ConfigError, IntegrityError, PipelineError, ResourceError, Transient
from pipeline.events import What
from pipeline.host import Cmd, Output
from pipeline.push import needs
from pipeline.stage import Driver, Finding, Site, Store
from pipeline.tools import references, skopeo, tags
from pipeline.tools.registry import Client, Manifest, client_of, read_manifest

STAGE = "push"
SAY_EVERY = 0.5  # seconds between two words about progress


@dataclass(frozen=True)
class Spec:
    """`registry` is the site's name for it, `repository` the path in it.

    A tag that stands for another image is refused, or moved where `immutable` is false. `timeout` is for the whole copy, in seconds.
    Raises ConfigError for a name that is not one.
    """

    registry: str
    repository: str
    immutable: bool = True
    timeout: float = 3600.0

    def __post_init__(self) -> None:
        references.repository(self.repository)


def find(spec: Spec, bundle: Bundle, site: Site) -> Finding:
    """Whether the tag of this source stands for this very image. One HEAD where a former look has proved the digest, else the
    manifest and the first byte of each layer. Raises what the registry's client raises."""
    client, tag = _client(spec, site), references.tag(bundle.source.label)
    proved = site.records.hint(_key(spec, bundle.config, site))
    if proved:
        digest = client.head(spec.repository, tag)
        if digest is None:
            return Finding(None, f"tag {tag} is not in the registry")
        if digest == proved:
            return Finding(_images(spec, bundle.source, site, digest, bundle.config))
    manifest = client.manifest(spec.repository, tag)
    if manifest is None:
        return Finding(None, f"tag {tag} is not in the registry")
    if manifest.config != bundle.config:
        return Finding(None, f"tag {tag} stands for another image ({manifest.digest}, config {manifest.config or 'none'})")
    lost = _missing(client, spec, manifest)
    if lost:
        return Finding(None, f"the registry has lost {len(lost)} of the image's blobs ({min(lost)})")
    return Finding(_proved(spec, bundle, site, manifest.digest))


def known(spec: Spec, source: Source, site: Site) -> Finding:
    """Whether the tag of `source` stands for an image that was made of its very tree, as the image's provenance says, and of which nothing
    is lost. Asked of a clone that knows of no build. Raises what the registry's client raises."""
    from pipeline.push import provenance
    from pipeline.tools.proof import missing

    client, tag = _client(spec, site), references.tag(source.label)
    manifest = client.manifest(spec.repository, tag)
    if manifest is None or source.tree not in provenance.trees(client, spec.repository, manifest.digest):
        return Finding(None, f"no image of {source.label} is in the registry")
    if lost := missing(client, spec.repository, manifest):
        return Finding(None, f"the registry has lost {len(lost)} of the image's blobs ({min(lost)})")
    images = _images(spec, source, site, manifest.digest, manifest.config)
    return Finding(images, f"{tag} is {manifest.digest[:19]} in the registry, made of this tree as its provenance says")


def make(spec: Spec, bundle: Bundle, site: Site) -> Images:
    """Put the image under the source's tag, and prove that it can be fetched.

    Raises IntegrityError where the tag stands for another image, Ambiguous where the manifest's fate is unknown, Transient where
    the way broke or a layer cannot be fetched afterwards, ConfigError, AuthError, ResourceError as told by skopeo and the registry.
    """
    client, tag = _client(spec, site), references.tag(bundle.source.label)
    there = client.manifest(spec.repository, tag)
    if there and there.config != bundle.config:
        _taken(spec, site, tag, there.digest, f"config {there.config}, wanted {bundle.config}")
    lost = _missing(client, spec, there) if there and there.config == bundle.config else frozenset[str]()
    known = None if there and lost else _known(client, spec, bundle, site)
    if there and there.config == bundle.config and not lost:
        return _proved(spec, bundle, site, there.digest)
    if known:
        site.tell(What.WAIT, STAGE, f"the same image is there already: tagging {known.digest[:19]} as {tag}")
        _still(client, spec, tag, client.put_manifest(spec.repository, tag, known))
        _attest(client, spec, bundle, site, known)
        return _proved(spec, bundle, site, known.digest)
    digest = _copied(client, spec, bundle, site, tag, there, lost)
    return _read_back(client, spec, bundle, site, tag, digest)


def _client(spec: Spec, site: Site) -> Client:
    return client_of(site, spec.registry)


def _key(spec: Spec, config: str, site: Site) -> str:
    """The hint's name: which manifest digest was proved to be this image, in this repository."""
    return f"image {site.registry(spec.registry).address}/{spec.repository} {config}"


def _images(spec: Spec, source: Source, site: Site, digest: str, config: str) -> Images:
    repository = f"{site.registry(spec.registry).address}/{spec.repository}"
    return Images(source, (Image(repository, digest, source.label, config),))


def _proved(spec: Spec, bundle: Bundle, site: Site, digest: str) -> Images:
    site.records.remember(_key(spec, bundle.config, site), digest)
    return _images(spec, bundle.source, site, digest, bundle.config)


def _missing(client: Client, spec: Spec, manifest: Manifest) -> frozenset[str]:
    from pipeline.tools.proof import missing  # a run that changes nothing never comes here

    return missing(client, spec.repository, manifest)


def _known(client: Client, spec: Spec, bundle: Bundle, site: Site) -> Manifest | None:
    """The manifest of the same image under whatever tag, where a hint names it and the registry still gives all of it."""
    hint = site.records.hint(_key(spec, bundle.config, site))
    manifest = client.manifest(spec.repository, references.digest(hint)) if hint else None
    if manifest is None or manifest.config != bundle.config or _missing(client, spec, manifest):
        return None
    return manifest


def _taken(spec: Spec, site: Site, tag: str, digest: str, detail: str) -> None:
    if spec.immutable:
        raise IntegrityError(
            f"tag {tag} of {spec.repository} stands for another image already",
            cause=f"it is {digest}; {detail}",
            mend="commit, which gives another tag; or find out why one commit gave two images; immutable: false moves tags",
        )
    site.tell(What.WARN, STAGE, f"tag {tag} moves away from {digest}")


def _copied(client: Client, spec: Spec, bundle: Bundle, site: Site, tag: str, there: Manifest | None, lost: frozenset[str]) -> str:
    from pipeline.push.relay import (
        READ_TIMEOUT,
        Relay,  # a run that uploads nothing needs no server
    )
    from pipeline.tools.origin import Origin

    def guard(reference: str, body: bytes) -> None:
        manifest = read_manifest(body, "", f"{spec.repository}:{reference}")
        if manifest.config != bundle.config:
            raise IntegrityError(
                f"the archive {bundle.store_path} holds another image than was built",
                cause=f"its config is {manifest.config}, the build said {bundle.config}",
                mend="build again",
            )
        now = client.head(spec.repository, tag)
        if now and now != manifest.digest and (there is None or now != there.digest):
            _taken(spec, site, tag, now, f"wanted {manifest.digest}; somebody else has just pushed it")

    address = site.registry(spec.registry).address
    upstream = Origin(client.origin.scheme, client.origin.address, clock=site.clock, read_timeout=READ_TIMEOUT, deadline=spec.timeout)
    relay = Relay(upstream, client.authorization, spec.repository, guard=guard, absent=lost, on_bytes=_progress(site, bundle.size))
    site.secrets.guard(relay.password)
    site.secrets.guard(relay.auth)
    name = references.address(address).strip("[]").replace(":", "-").lower() + ".invalid"
    host = site.host(bundle.host)
    authfile = json.dumps({"auths": {name: {"auth": relay.auth}}}).encode()
    with relay.listening() as here, host.expose(here) as door:
        places = (f"{host.state}/{site.app}/skopeo", bundle.store_path, str(door), name, f"{spec.repository}:{tag}")
        command = Cmd(("sh", "-c", _script(), "push", *places, site.tool("skopeo"), *skopeo.copy()), stdin=authfile, timeout=spec.timeout)
        output = host.run(command, lambda line: site.tell(What.LOG, STAGE, line))
    if not output.ok:
        raise _failed(output, relay.traffic.faults, bundle)
    digest = references.digest(skopeo.stored(output.text))
    sent = relay.traffic.uploaded
    site.tell(
        What.LOG, STAGE, f"{sent / 1e6:.1f} MB sent in {relay.traffic.requests} requests", bytes=sent, requests=relay.traffic.requests
    )
    return digest


def _script() -> str:
    import importlib.resources  # as long to load as the rest of the no-op

    return (importlib.resources.files("pipeline.push") / "skopeo.sh").read_text()


def _progress(site: Site, size: int) -> Callable[[int], None]:
    said = [site.clock.monotonic()]

    def on_bytes(total: int) -> None:
        now = site.clock.monotonic()
        if now - said[0] >= SAY_EVERY:
            said[0] = now
            whole = f" (the archive has {size / 1e6:.0f} MB before compression)" if size else ""
            site.tell(What.WAIT, STAGE, f"{total / 1e6:.1f} MB sent{whole}", bytes=total)

    return on_bytes


def _failed(output: Output, faults: list[PipelineError], bundle: Bundle) -> PipelineError:
    """The script's own exits, then what the relay saw, which is nearer to the cause than skopeo's words, then those."""
    where = f"{bundle.host}:{bundle.store_path}"
    own: dict[int, PipelineError] = {
        91: IntegrityError(f"the image archive {where} is gone", mend="build again"),
        92: IntegrityError(f"the image archive {where} is damaged", cause=output.tail(3), mend="delete it from the store and build again"),
        93: ConfigError(f"skopeo is not installed on {bundle.host}", mend=skopeo.INSTALL),
        94: ResourceError(f"no room on {bundle.host} to unpack the archive", cause=output.tail(3), mend=skopeo.SPACE),
    }
    if output.code in own:
        return own[output.code]
    lasting = [fault for fault in faults if not isinstance(fault, Transient)]
    if lasting or faults:
        fault = (lasting or faults)[-1]
        fault.cause = "\n".join(filter(None, (fault.cause, output.tail(1))))
        return fault
    return skopeo.TOOL.failure(output.code, output.tail(30))


def _still(client: Client, spec: Spec, tag: str, digest: str) -> None:
    now = client.head(spec.repository, tag)
    if now != digest:
        raise IntegrityError(
            f"tag {tag} of {spec.repository} was superseded while it was pushed",
            cause=f"pushed {digest}, the tag is now {now or 'gone'}",
            mend="find out who else pushes this tag; what was pushed is still there by its digest",
        )


def _read_back(client: Client, spec: Spec, bundle: Bundle, site: Site, tag: str, digest: str) -> Images:
    site.tell(What.WAIT, STAGE, f"reading {digest[:19]} back")
    _still(client, spec, tag, digest)
    manifest = client.manifest(spec.repository, digest)
    if manifest is None or manifest.config != bundle.config:
        raise IntegrityError(
            f"{spec.repository}@{digest} is not the image that was built",
            cause=f"its config is {manifest.config if manifest else 'gone'}, the build said {bundle.config}",
            mend="do not deploy it; look at the registry",
        )
    lost = _missing(client, spec, manifest)
    if lost:
        raise Transient(
            f"the registry took {spec.repository}:{tag} but does not give {len(lost)} of its blobs",
            cause=", ".join(sorted(lost)),
            mend="they are sent again on the next attempt; if it lasts, look at the registry's storage",
        )
    _attest(client, spec, bundle, site, manifest)
    return _proved(spec, bundle, site, digest)


def _attest(client: Client, spec: Spec, bundle: Bundle, site: Site, manifest: Manifest) -> None:
    """Let the image's provenance refer to it. The image is pushed and proved by now: what goes wrong here is told, no more."""
    from pipeline.push import provenance  # a run that pushes nothing never comes here

    try:
        provenance.attach(client, spec.repository, manifest, bundle, site)
    except PipelineError as error:
        site.tell(What.WARN, STAGE, f"the image is pushed, but its provenance could not be attached: {error.what}")


def stores(spec: Spec, _site: Site) -> tuple[Store, ...]:
    """The repository, and what its images are called: see `pipeline.artifacts.Source.label`."""
    return (Store(spec.registry, spec.repository, (rf"([0-9a-f]{{7}}){tags.DIRTY}",)),)


DRIVER = Driver("push", "skopeo", Bundle, Images, Spec, find, make, check=needs.check, known=known, stores=stores)
