"""From what was seen to what is written: how the images come about, what deploys them, and what was left out, and why."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import ConfigError
from pipeline.init import charts
from pipeline.init.charts import Chart, Named
from pipeline.init.dockerfiles import Dockerfile
from pipeline.init.look import Seen
from pipeline.init.plain import Plain
from pipeline.init.texts import slug
from pipeline.plan import SiteFile
from pipeline.tools import references
from pipeline.tools.providers import HUB_NAMES
from pipeline.yamlfile import keys_like

FORGES = {"github.com": ("ghcr", "ghcr.io"), "gitlab.com": ("gitlab", "registry.gitlab.com"), "codeberg.org": ("codeberg", "codeberg.org")}
NAMES = {"docker.io": "hub", "ghcr.io": "ghcr", "quay.io": "quay"}
REGISTRY, CLUSTER, HOST = "registry", "main", "builder"  # what they are called in a site file that is written here
OTHERS = {  # images that applications use, and that are not the application
    "alpine", "busybox", "consul", "curl", "debian", "elasticsearch", "envoy", "etcd", "grafana", "haproxy", "httpd", "influxdb", "jaeger",
    "kafka", "keycloak", "kubectl", "mailhog", "mailpit", "mariadb", "memcached", "minio", "mongo", "mongodb", "mosquitto", "mysql", "nats",
    "nginx", "nginx-unprivileged", "node", "pgadmin4", "pgbouncer", "php", "postgres", "postgresql", "prometheus", "python", "rabbitmq",
    "redis", "redis-exporter", "traefik", "ubuntu", "valkey", "vault", "wait-for", "zookeeper", "otel-collector", "opentelemetry-collector",
    "opentelemetry-collector-contrib", "postgres-exporter", "caddy", "cloudflared", "oauth2-proxy",
}  # fmt: skip
FEW = 4  # names in one line
SHOWN = 6  # others that stand as comments
KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")

Ask = Callable[[str, Sequence[str]], str]


@dataclass(frozen=True)
class Given:
    """What the command line says; "" and () leave it to the look."""

    app: str = ""
    build: tuple[str, ...] = ()
    deploy: str = ""
    namespace: str = ""
    registry: str = ""
    cluster: str = ""
    site: str = ""


@dataclass
class Decided:
    """What the templates are filled with, and what there is to tell beside the files."""

    answers: dict[str, Any]
    told: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Way:
    """One way to deploy: `driver`, what it takes, and in words."""

    driver: str
    path: str
    words: str
    chart: Chart | None = None
    plain: Plain | None = None


def decide(seen: Seen, given: Given, site: SiteFile | None, ask: Ask | None = None) -> Decided:
    """What to write for the repository. `site` is its site file, None if it has none yet; `ask` has a terminal answered.

    Raises ConfigError if there is nothing to build and nothing to deploy, and for a path or a name that is not there.
    """
    app = given.app or seen.name
    owner = seen.owner or app
    known = Decided({})
    ways = _ways(seen)
    way = _chosen(ways, given.deploy, ask)
    builds, attr = _builds(seen, given.build, ask)
    said: dict[str, Any] = {key: list(value) if isinstance(value, tuple) else value for key, value in given.__dict__.items() if value}
    if ask and way and len(ways) > 1:
        said["deploy"] = way.path
    if ask and seen.attr and seen.dockerfiles:
        said["build"] = ["flake.nix"] if attr else [each.path for each in builds]
    if way is None and not builds and not attr:
        raise ConfigError(
            f"{seen.root} has nothing that can be built or deployed: no Dockerfile, no flake that makes an image, no chart, no manifests",
            cause=f"{seen.compose[0]} is there: releasing to Docker hosts comes later" if seen.compose else "",
            mend="write a Dockerfile, and a chart (helm create chart) or manifests; or name what was overlooked: --build, --deploy",
        )
    images = _called(builds, app)
    build: dict[str, Any] = {"driver": ""}
    deploy: dict[str, Any] = {"driver": ""}
    if way:
        images, deploy, left = _deployed(way, images, attr, app, owner, known)
        if left:
            paths = ", ".join(each.path for each in left[:FEW]) + (" …" if len(left) > FEW else "")
            known.told.append(f"not built, since {way.path} names no image of theirs: {paths}")
    if images:
        registry = _registry(seen, given, site)
        build = {
            "driver": "buildx", "registry": registry,
            "builders": list(site.builders)[:1] if site and len(site.builders) == 1 else [],
            "images": [{"key": _key(name), "repository": f"{owner}/{name}", "context": each.context, "target": each.target,
                        "dockerfile": "" if each.usual else each.path} for name, each in images.items()],
        }  # fmt: skip
    elif attr:
        registry = _registry(seen, given, site)
        host = next(iter(site.hosts), HOST) if site else HOST
        build = {"driver": "nix", "registry": registry, "host": host, "attr": attr, "repository": f"{owner}/{app}"}
    elif way:
        build = _tagged(way, given, site, known)
    cluster = given.cluster or _only(site.clusters if site else {}, CLUSTER)
    spaces = way.plain.namespaces if way and way.plain else ()
    if way:
        deploy |= {"cluster": cluster, "namespace": given.namespace or (spaces[0] if spaces else app), "name": app}
        if len(spaces) > 1 and not given.namespace:
            known.told.append(f"the manifests name the namespaces {', '.join(spaces)}, and a release is of one: --namespace")
    elif seen.compose:
        known.told.append(f"{seen.compose[0]}: releasing to Docker hosts comes later; the build part alone is written")
    else:
        known.told.append("there is no chart and there are no manifests: the build part alone is written; helm create chart makes a chart")
    known.answers = {
        "app": app,
        "site": given.site,
        "said": said,
        "build": build,
        "deploy": deploy,
        "verify": {"host": way.plain.host, "page": way.plain.page} if way and way.plain else {"host": "", "page": ""},
        "other_builds": _other_builds(seen, images, attr if not images else "")[:SHOWN],
        "other_deploys": [each.words for each in ways if each is not way][:SHOWN],
        "site_file": _site_file(seen, build) if site is None else {},
    }
    return known


def _ways(seen: Seen) -> list[Way]:
    return [
        *(Way("helm", each.folder, f"chart {each.folder}", chart=each) for each in seen.charts),
        *(Way("kubectl", each.path, f"kustomization {each.path}", plain=each) for each in seen.kustomizations),
        *(Way("kubecfg", each.path, f"jsonnet {each.path}", plain=each) for each in seen.jsonnet),
        *(Way("kubectl", each.path, f"manifests {each.path}", plain=each) for each in seen.manifests),
    ]


def _chosen(ways: Sequence[Way], named: str, ask: Ask | None) -> Way | None:
    if named:
        want = named.rstrip("/") or "."
        found = next((each for each in ways if each.path == want), None)
        if found is None:
            paths = [each.path for each in ways]
            raise ConfigError(
                f"--deploy {named}: nothing that can be deployed is there{keys_like(named, paths)}",
                mend=f"one of: {', '.join(paths) or 'none'}",
            )
        return found
    if len(ways) > 1 and ask:
        said = ask("What deploys it?", [each.words for each in ways])
        return next(each for each in ways if each.words == said)
    return ways[0] if ways else None


def _builds(seen: Seen, named: Sequence[str], ask: Ask | None) -> tuple[list[Dockerfile], str]:
    """(Dockerfiles that are built, or the flake's attribute)."""
    if named:
        if list(named) == ["flake.nix"] and seen.flake:
            return [], seen.attr or "docker"
        found = [each for each in seen.dockerfiles if each.path in named]
        if missing := [each for each in named if each not in {one.path for one in found}]:
            paths = [*(each.path for each in seen.dockerfiles), *(["flake.nix"] if seen.flake else [])]
            raise ConfigError(
                f"--build {missing[0]}: there is no such Dockerfile{keys_like(missing[0], paths)}",
                mend=f"one of: {', '.join(paths) or 'none'}",
            )
        return found, ""
    own = [each for each in seen.dockerfiles if not each.variant]
    if seen.attr and (not own or (ask and ask("What builds the image?", [f"flake.nix, {seen.attr}", own[0].path]) != own[0].path)):
        return [], seen.attr
    return own, ""


def _called(builds: Sequence[Dockerfile], app: str) -> dict[str, Dockerfile]:
    return {app: builds[0]} if len(builds) == 1 else {each.name: each for each in builds}


def _deployed(
    way: Way, images: dict[str, Dockerfile], attr: str, app: str, owner: str, known: Decided
) -> tuple[dict[str, Dockerfile], dict[str, Any], list[Dockerfile]]:
    """(images that the deploy needs, its options, Dockerfiles that it has no use for)."""
    names = list(images) or [app]
    found: dict[str, Any]
    if way.chart:
        found = dict(charts.choose(way.chart, names, app))
        if way.chart.fetched:
            fetched = ", ".join(way.chart.fetched)
            known.told.append(f"{way.path} needs charts that are not in it ({fetched}): helm dependency build {way.path}, and commit them")
    else:
        found = _named(way.plain.images if way.plain else (), names, images)
    beside = _beside(way.path, images) if len(images) > 1 and not found else ""
    if beside:
        images = {app: images[beside]}
        found = _named(way.plain.images if way.plain else (), [app], images)
    kept = {name: each for name, each in images.items() if name in found} or images
    left = [each for name, each in images.items() if name not in kept]
    place = charts.prefixed(way.chart) if way.chart and len(images) > 1 and not found else None
    if images and not found and not place and way.driver != "kubecfg":
        known.told.append(f"which image of {way.path} is built here is not clear: the blueprint has a line for it to be filled in")
    word = {name: f"{name}." if len(kept) > 1 else "" for name in (kept or names)}
    unclear = bool(images or attr) and not found
    options: dict[str, Any] = {"driver": way.driver, "path": way.path, "values": [], "images": [], "unclear": unclear}
    if way.chart:
        options["values"] = _values(found, word)
        if place:
            first = next(iter(kept))
            text = f'{{repository: "{{{first}.repository.registry}}/{owner}", tag: "{{tag}}"}}'
            options["values"] = [f"{_key(place.path[0])}: {_flow(_nested(place.path[1:], text))}"]
        options["named"] = [".".join(each.path) for each in way.chart.images][:SHOWN]
    elif way.driver == "kubecfg":
        options["values"] = _arguments(way.plain.arguments if way.plain else (), names)
        options["unclear"] = False
    else:
        options["images"] = [
            f'{{name: {text}}}' if len(kept) < 2 or _last(text) == name
            else f'{{name: {text}, newName: "{{{word[name]}repository}}"}}'
            for name, text in found.items()
        ]  # fmt: skip
        options["named"] = [each for each, _ in (way.plain.images if way.plain else ())][:SHOWN]
        own = [each for each, _ in (way.plain.images if way.plain else ()) if _last(each) not in OTHERS]
        if len(names) == 1 and len(own) > 1 and found and _last(found[names[0]]) != names[0]:
            known.told.append(
                f"{way.path} names {', '.join(own[:FEW])}: {found[names[0]]} is taken for what is built here; correct `images`"
            )
        if way.plain and way.plain.mixed:
            known.told.append(f"{way.path} has YAML files beside its manifests that are none: inv plan names them")
    return kept, options, left


def _last(repository: str) -> str:
    return repository.rpartition("/")[2]


def _nested(path: Sequence[str], value: Any) -> Any:
    return {path[0]: _nested(path[1:], value)} if path else value


def _beside(path: str, images: Mapping[str, Dockerfile]) -> str:
    """The image whose Dockerfile lies nearest to what is deployed, "" if none shares a folder with it."""
    parts = path.split("/")
    shared = {name: sum(a == b for a, b in zip(parts, each.path.split("/")[:-1], strict=False)) for name, each in images.items()}
    best = max(shared.values())
    near = [name for name, count in shared.items() if count == best]
    return near[0] if best and len(near) == 1 else ""


def _named(there: Sequence[tuple[str, str]], names: Sequence[str], images: Mapping[str, Dockerfile]) -> dict[str, Any]:
    """Which repository that containers name each of the built images is."""
    left = [each for each, _ in there]
    found: dict[str, Any] = {}
    for name in names:
        own = {name, images[name].name} if name in images else {name}
        lasts = {each: slug(each.rpartition("/")[2]) for each in left}
        hit = next((each for each in left if lasts[each] in own), "") or next(
            (each for each in left if any(re.search(rf"(^|-){re.escape(word)}(-|$)", lasts[each]) for word in own)), ""
        )
        if hit:
            found[name] = hit
            left.remove(hit)
    if len(names) == 1 and not found and left:
        mine = [each for each in left if each.rpartition("/")[2] not in OTHERS] or left
        found[names[0]] = mine[0]
    return found


def _values(found: Mapping[str, Named], word: Mapping[str, str]) -> list[str]:
    """The values that name the images, one line for each key at the top."""
    tree: dict[str, Any] = {}
    for name, each in found.items():
        here = tree
        for key in each.path[:-1]:
            here = here.setdefault(key, {})
        text = each.filled(word[name])
        if each.path:
            here[each.path[-1]] = text
        else:
            tree |= {key: f'"{value}"' for key, value in each.parts(word[name]).items()}
    return [f"{_key(key)}: {_flow(value)}" for key, value in tree.items()]


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    return str(value)


def _key(key: str) -> str:
    return key if KEY.fullmatch(key) else '"' + key.replace('"', '\\"') + '"'


def _arguments(arguments: Sequence[str], names: Sequence[str]) -> list[str]:
    words = []
    for each in arguments:
        low = each.lower()
        if low.endswith("image"):
            name = next((name for name in names if low.startswith(name.replace("-", ""))), "")
            words.append(f'{each}: "{{{f"{name}." if name and len(names) > 1 else ""}reference}}"')
        elif low in ("commit", "revision", "sha"):
            words.append(f'{each}: "{{commit}}"')
        elif low in ("version", "tag"):
            words.append(f'{each}: "{{tag}}"')
    return words


def _tagged(way: Way, given: Given, site: SiteFile | None, known: Decided) -> dict[str, Any]:
    """An image that others build: the first that the chart or the manifests name."""
    if way.chart:
        top = [each for each in way.chart.images if len(each.path) == 1] or list(way.chart.images)
        named = [(each.repository, each.tag) for each in top]
    else:
        named = sorted(way.plain.images if way.plain else (), key=lambda each: each[0].rpartition("/")[2] in OTHERS)
    if not named:
        return {"driver": "none"}
    repository, tag = named[0]
    found = references.read(repository)
    address = found.registry or "docker.io"
    name = given.registry or (_at(site, address) if site else "") or NAMES.get(address, REGISTRY)
    if site and name not in site.registries:
        known.told.append(f"the site file has no registry at {address}: add {name}: {{address: {address}}} to its registries")
    return {"driver": "tagged", "registry": name, "address": address, "repository": found.path, "tag": tag or "latest"}


def _at(site: SiteFile, address: str) -> str:
    same = HUB_NAMES if address in HUB_NAMES else (address,)
    return next((name for name, each in site.registries.items() if each.address in same), "")


def _registry(seen: Seen, given: Given, site: SiteFile | None) -> str:
    """The registry that images are pushed to, by the site's name for it."""
    if given.registry:
        if site and given.registry not in site.registries:
            raise ConfigError(
                f"--registry {given.registry}: the site file has none of that name{keys_like(given.registry, list(site.registries))}",
                mend=f"one of: {', '.join(site.registries) or 'none'}",
            )
        return given.registry
    name, address = FORGES.get(seen.host, (REGISTRY, ""))
    if site is None:
        return name
    here = _at(site, address) if address else ""
    own = [each for each, registry in site.registries.items() if registry.address not in HUB_NAMES]
    return here or (name if name in site.registries else next(iter(own or site.registries), name))


def _only(known: Mapping[str, Any], usual: str) -> str:
    return next(iter(known), usual)


def _other_builds(seen: Seen, images: Mapping[str, Dockerfile], attr: str) -> list[str]:
    used = {each.path for each in images.values()}
    found = [each.path for each in seen.dockerfiles if each.path not in used]
    return [*found, *([f"flake.nix (attr: {seen.attr})"] if seen.attr and not attr else [])]


def _site_file(seen: Seen, build: Mapping[str, Any]) -> dict[str, Any]:
    """What the site file that is written has to name."""
    name = build.get("registry") or ""
    _, address = FORGES.get(seen.host, ("", ""))
    if build["driver"] == "tagged":
        address = build.get("address", "")
    return {"registry": name, "address": address, "cluster": CLUSTER, "host": build.get("host", "")}
