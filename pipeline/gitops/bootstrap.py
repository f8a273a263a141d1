"""Flux brought to follow a repository: components, key and sync objects, each made where it is not there; a failure leaves what the same
command goes on from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.errors import ConfigError
from pipeline.events import What
from pipeline.gitops import components, forge, keys, login, schemas, system, validate
from pipeline.gitops.components import Components
from pipeline.gitops.place import SECRET, STAGE, Place
from pipeline.gitops.reconciled import reconciled
from pipeline.host import Host
from pipeline.host.local import LocalHost
from pipeline.stage import Site
from pipeline.tools import flux
from pipeline.tools.flux import Ref
from pipeline.tools.gitops import Changes, Head
from pipeline.tools.gitops_message import Message, Trailers
from pipeline.tools.kube import Kube, connect, path


@dataclass(frozen=True)
class Done:
    """What a bootstrap came to: the `commits` it made (none: all was there), the deploy key's public line ("" where none is used), and the
    revision that Flux applied."""

    commits: tuple[str, ...]
    public: str
    revision: str


def bootstrap(place: Place, site: Site, given: Components | None) -> Done:
    """Make Flux follow the repository's branch. `given` are the components to install; without them those of the repository, or of the flux
    command, and none where the cluster has Flux already.

    Raises ConfigError, AuthError, HostKeyError for what a person has to mend, Transient for what passes; again goes on.
    """
    host, kube = LocalHost(), connect(site, place.flux.cluster)
    remote = site.remote(place.flux.remote)
    repository, url = place.repository(site), place.url(remote)
    keeper = forge.open_forge(place.gitops.forge, url, site) if place.gitops.forge else None
    ssh = not url.startswith("https://")
    hosts = keys.known_hosts(url, remote, host) if ssh else ""
    if keeper and keeper.create():
        site.tell(What.MADE, STAGE, f"{repository.url} is there now, private and empty")
    head = repository.look(first=True)
    served = schemas.of_cluster(kube)
    found = _components(place, site, head, given, host, installed=bool(served))
    commits = _committed(place, site, found, url, ssh=ssh)
    if found and not _followed(kube, place):
        components.install(found, place, site, kube, host)
    public = _key(place, site, kube, hosts, keeper) if ssh else ""
    _chart_login(place, site, kube)
    head = repository.look()
    _synced(place, site, kube, head, url)
    revision = reconciled(place, site, kube, head.commit, public, asked=keeper is not None)
    if found:
        components.wait(found, site, kube)  # those of a new commit come by Flux itself
    return Done(commits, public, revision)


def _components(place: Place, site: Site, head: Head, given: Components | None, host: Host, *, installed: bool) -> Components | None:
    """Which components there shall be; None where Flux is kept by somebody else."""
    file = f"{place.system_folder}/{validate.COMPONENTS}"
    there = head.read(file) if head.commit else None
    found = given
    if found is None and there is not None:
        found = components.parse(there.decode(errors="replace"), file)
    if found is None and not installed:
        found = components.exported(place, site, host)
    if found is None and not installed:
        raise ConfigError(
            "Flux is not installed in this cluster, and nothing says which one to install",
            mend="inv flux.bootstrap --components FILE: the install.yaml of a release (github.com/fluxcd/flux2/releases); or install flux",
        )
    if found is None:
        site.tell(
            What.LOG, STAGE, "Flux is in the cluster already, and not by this repository: its components are left to whoever keeps them"
        )
        return None
    components.fits(found, place)
    return found


def _committed(place: Place, site: Site, found: Components | None, url: str, *, ssh: bool) -> tuple[str, ...]:
    """Flux's own folder in the repository, by two commits as `flux bootstrap` makes them; none where it is there."""
    folder, made = place.system_folder, []
    if found:
        text = {f"{folder}/{validate.COMPONENTS}": found.text.encode()}
        made.append(_commit(place, site, lambda _head: text, f"Add Flux {found.version or 'components'} component manifests"))
    texts = {
        f"{folder}/gotk-sync.yaml": system.sync(place, url, secret=ssh),
        f"{folder}/kustomization.yaml": system.kustomization(components=found is not None),
    }

    def sync(head: Head) -> Changes:
        there = {name: head.read(name) if head.commit else None for name in texts}
        return {name: text.encode() for name, text in texts.items() if (now := there[name]) is None or system.bare(now)}

    made.append(_commit(place, site, sync, "Add Flux sync manifests"))
    return tuple(filter(None, made))


def _commit(place: Place, site: Site, change: Callable[[Head], Changes], subject: str) -> str:
    repository = place.repository(site)
    done = repository.publish(change, Message(subject, trailers=Trailers(app=place.app, more={"Bootstrap": place.flux.system})), first=True)
    if done.made:
        site.tell(What.MADE, STAGE, f"{done.commit[:7]}: {subject}")
    return done.commit if done.made else ""


def _key(place: Place, site: Site, kube: Kube, hosts: str, keeper: forge.Forge | None) -> str:
    """The Secret first, then the repository: a key that only the Secret has is found again, one that only the repository knows is lost."""
    title = f"flux {place.flux.system} {place.cluster_folder}"
    target = path("v1", "secrets", place.flux.system, SECRET)
    there = kube.get(target)
    key = keys.of_secret(there, title)
    if key is None or keys.hosts_of(there) != hosts:
        made = key is None
        key = key or keys.made(title)
        secret = keys.secret(SECRET, place.flux.system, key, hosts)
        _namespace(kube, place)
        if there is None:
            kube.create(path("v1", "secrets", place.flux.system), secret)  # a Conflict where another run was quicker: its key counts
        else:
            kube.apply(target, secret)
        site.tell(What.MADE, STAGE, f"Secret {SECRET}: {'a key of its own' if made else 'the host keys as the site has them'}")
    if keeper and (done := forge.registered(keeper, title, key.public, read_only=place.gitops.automation is None)):
        site.tell(What.MADE, STAGE, f"deploy key: {done}")
    return key.public


def _chart_login(place: Place, site: Site, kube: Kube) -> None:
    """The login of a private chart's registry, as the site has it; a Secret that is there stays as it is."""
    target = path("v1", "secrets", place.flux.system, place.gitops.chart_secret)
    if not place.gitops.chart_secret or kube.get(target) is not None:
        return
    secret = login.secret(place, site)
    _namespace(kube, place)
    kube.apply(target, secret)
    site.tell(What.MADE, STAGE, f"Secret {place.gitops.chart_secret}: the login that the chart is pulled with")


def _synced(place: Place, site: Site, kube: Kube, head: Head, url: str) -> None:
    """The sync objects in the cluster, as the repository has them: from then on Flux keeps them itself."""
    file = f"{place.system_folder}/gotk-sync.yaml"
    wanted = list(_sync_objects(file, head.need(file), place, url))
    _namespace(kube, place)
    for ref, value in wanted:
        if kube.get(ref.path) is None:
            kube.apply(ref.path, value)
            site.tell(What.MADE, STAGE, f"{ref}")


def _sync_objects(file: str, body: bytes, place: Place, url: str) -> Iterator[tuple[Ref, dict[str, Any]]]:
    """The two objects of the repository. Raises ConfigError where they are missing, or lead elsewhere than the blueprint does."""
    found = {(each.kind, str(each.value.get("metadata", {}).get("name"))): each for each in validate.read(file, body)}
    flux_ = place.flux
    source, applier = found.get(("GitRepository", flux_.source)), found.get(("Kustomization", flux_.kustomization))
    if source is None or applier is None:
        what = f"GitRepository {flux_.source}" if source is None else f"Kustomization {flux_.kustomization}"
        raise ConfigError(f"{file} holds no {what}", mend="correct `source` and `kustomization` of the deploy stage, or that file")
    spec, applied = dict(source.value.get("spec") or {}), dict(applier.value.get("spec") or {})
    for each, key, there, ours in (
        (source, ("spec", "url"), spec.get("url"), url),
        (source, ("spec", "ref", "branch"), (spec.get("ref") or {}).get("branch"), flux_.branch),
        (applier, ("spec", "path"), str(applied.get("path", "")).removeprefix("./").strip("/"), place.cluster_folder),
    ):
        if there != ours:
            raise ConfigError(
                f"{each.place(key)}: Flux follows {'.'.join(key[1:])} {there}, and the blueprint says {ours}",
                mend="correct the one that is wrong; Flux takes over what is committed there",
            )
    for each, kind, name in ((source, "GitRepository", flux_.source), (applier, "Kustomization", flux_.kustomization)):
        meta = {**each.value.get("metadata", {}), "namespace": flux_.system}
        yield Ref(kind, flux_.system, name), {**each.value, "metadata": meta}


def _followed(kube: Kube, place: Place) -> bool:
    """Whether Flux keeps itself from the repository already: then its components come by a commit, and not by hand."""
    if not schemas.of_cluster(kube):
        return False
    applier = flux.read(kube, Ref("Kustomization", place.flux.system, place.flux.kustomization))
    return applier is not None and bool(applier.revision)


def _namespace(kube: Kube, place: Place) -> None:
    target = path("v1", "namespaces", name=place.flux.system)
    if kube.get(target) is None:
        kube.apply(target, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": place.flux.system}})
