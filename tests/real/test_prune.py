"""`inv prune` on the lab: real registries, a real cluster, real git; what is needed stays, whoever needs it."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.artifacts import Bundle, Image, Images, Source
from pipeline.deploy import work
from pipeline.host import Cmd
from pipeline.plan import load
from pipeline.prune.act import prune
from pipeline.push import provenance
from pipeline.stage import Site
from pipeline.tools.flux import KINDS, Ref
from pipeline.tools.registry import Client, client_of
from tests.real.app import App, application
from tests.real.flux_parts import flow
from tests.real.test_hub import push
from tests.real.workingcopy import ROOT

pytestmark = pytest.mark.real
PLACE = "coulomb/{}"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, lab_site_file: Path) -> Iterator[App]:
    """Released once, so that its oldest commit is what is live; then seven more commits, each with an image of its own in the registry."""
    with application("prune", tmp_path_factory.mktemp("prune")) as made:
        first = made.inv("deploy")
        assert first.returncode == 0, first.stderr
        yield made


def commits(app: App, count: int) -> list[str]:
    """That many commits, a minute apart, the newest last."""
    made = []
    for _ in range(count):
        number = int(app.git("rev-list", "--count", "HEAD"))
        (app.root / "number").write_text(f"{number}\n")
        when = f"2030-01-01T00:{number:02d}:00Z"
        os.environ["GIT_COMMITTER_DATE"] = when
        try:
            made.append(app.commit(f"Number {number}")[:7])
        finally:
            del os.environ["GIT_COMMITTER_DATE"]
    return made


def pruned(app: App, *words: str, code: int = 0) -> dict[str, Any]:
    done = app.inv("prune", "--json", *words)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    found: dict[str, Any] = json.loads(done.stdout) if done.stdout else {"error": done.stderr}
    return found


@pytest.fixture
def client(app: App) -> Iterator[Client]:
    with app.blueprint.site() as site:
        yield client_of(site, "coulombcore")


def test_the_last_five_tags_stay_and_what_is_live(app: App, client: Client) -> None:
    place, live = PLACE.format(app.name), app.git("rev-parse", "HEAD")[:7]
    new = commits(app, 7)
    for each in new:
        push(client, place, each, each)
    moving = client.manifest(place, new[1])
    assert moving
    client.put_manifest(place, "stable", moving)
    shown = pruned(app, "--dry-run")
    assert len([tag for tag in client.tags(place) if not tag.startswith("sha256-")]) == 9, "nothing has gone"
    assert [row["name"].partition(" ")[0] for row in shown["rows"] if row["goes"]] == [f"{place}:{new[0]}"]
    done = pruned(app)
    assert [row["goes"] for row in done["rows"]] == [row["goes"] for row in shown["rows"]]
    assert {tag for tag in client.tags(place) if not tag.startswith("sha256-")} == {live, new[1], "stable", *new[2:]}
    assert not [row for row in pruned(app)["rows"] if row["goes"]], "what went is gone, and nothing else goes"


def test_a_distribution_registry_where_two_tags_share_an_image(app: App) -> None:
    """The hub is distribution 2.8, which deletes by digest alone, and wants a token that may delete."""
    config = app.root / "config"
    name, text = f"{app.name}.hub.yml", (config / f"{app.name}.lab.yml").read_text()
    (config / name).write_text(f"{text}  push:\n    registry: hub\n")
    try:
        with load(config, app.name, "hub").site() as site:
            client, place = client_of(site, "hub"), PLACE.format(app.name)
            new = commits(app, 8)
            for each in new:
                push(client, place, each, "shared" if each in new[:2] else each)
            assert not [row for row in pruned(app)["rows"] if f":{new[0]}" in row["name"]], "another registry is none of this"
            rows = [row for row in pruned(app, "--env", "hub")["rows"] if row["goes"] and row["kind"] == "image"]
            shared = ", ".join(sorted(new[:2]))
            assert [row["name"].partition(" (")[0] for row in rows] == [f"{place}:{new[2]}", f"{place}:{shared}"]
            assert set(client.tags(place)) == set(new[3:])
    finally:
        (config / name).unlink()


def test_another_environment_keeps_what_it_runs_and_stops_all_if_it_cannot_be_asked(app: App, client: Client) -> None:
    place, config = PLACE.format(app.name), app.root / "config"
    other = config / f"{app.name}.other.yml"
    other.write_text((config / f"{app.name}.lab.yml").read_text().replace("  deploy:\n", "  deploy:\n    namespace: NAMESPACE\n"))
    new = commits(app, 7)
    digests = {each: push(client, place, each, each) for each in new}
    namespace = f"prune-{app.name}"
    app.kubectl("create", "namespace", namespace)
    try:
        other.write_text(other.read_text().replace("NAMESPACE", namespace))
        image = f"{app.site['registries']['coulombcore']['address']}/{place}@{digests[new[0]]}"
        job = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "old", "namespace": namespace}, "spec": {
            "schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": {"spec": {
                "restartPolicy": "Never", "containers": [{"name": "a", "image": image}]}}}}}}  # fmt: skip
        app.kubectl("apply", "--namespace", namespace, "-f", "-", stdin=json.dumps(job))
        before = set(client.tags(place))
        other.write_text(other.read_text().replace("site.yml", "away.yml"))
        away = app.root / ".pipeline/lab/away.yml"
        cluster = {**app.site["clusters"]["railiance01"], "kubeconfig": str(app.root / "away")}
        site = {**app.site, "clusters": {"railiance01": cluster}}
        kubeconfig = yaml.safe_load(Path(app.site["clusters"]["railiance01"]["kubeconfig"]).read_text())
        for each in kubeconfig["clusters"]:
            each["cluster"]["server"] = "https://127.0.0.1:1"
        (app.root / "away").write_text(yaml.safe_dump(kubeconfig))
        (app.root / "away").chmod(0o600)
        away.write_text(yaml.safe_dump(site))
        said = pruned(app, code=10)["error"]
        assert f"{app.name}, environment other cannot say what it needs, so nothing is deleted" in said
        assert set(client.tags(place)) == before
        other.write_text(other.read_text().replace("away.yml", "site.yml"))
        found = {row["name"]: row["why"] for row in pruned(app)["rows"] if row["kind"] == "image"}
        (why,) = (why for name, why in found.items() if f":{new[0]} " in name)
        assert why == f"{app.name}, environment other: CronJob/old in {namespace} runs it"
        assert client.head(place, new[0]) == digests[new[0]]
        assert client.head(place, new[1]) is None
    finally:
        other.unlink()
        app.kubectl("delete", "namespace", namespace, "--wait=false")


def test_it_works_while_somebody_holds_the_lock(app: App, client: Client) -> None:
    place = PLACE.format(app.name)
    new = commits(app, 7)
    digests = {each: push(client, place, each, each) for each in new}
    found = app.blueprint
    address = app.site["registries"]["coulombcore"]["address"]
    named = Images(Source("", "c" * 40, False, ""), (Image(f"{address}/{place}", digests[new[0]], new[0]),))
    deploy = next(stage.spec for stage in found.plan if stage.verb == "deploy")
    with found.site() as site, work.exclusive(deploy, named, site):
        assert app.inv("rollback").returncode == 13, "the lock is held"
        rows = {row["name"].partition(" ")[0]: row for row in pruned(app)["rows"]}
    assert "deploys it now" in rows[f"{place}:{new[0]}"]["why"]
    assert client.head(place, new[0]) == digests[new[0]]
    assert client.head(place, new[1]) is None


def test_nix_roots_go_and_that_of_what_is_live_stays(app: App) -> None:
    with app.blueprint.site() as site:
        host = site.host("haskelseed")
        roots = f"{host.state}/{app.name}/roots"

        def listed() -> set[str]:
            return set(host.run(Cmd(("ls", roots))).text.split())

        real = {each for each in listed() if not each.endswith(".facts")}
        assert real
        made = [f"{number:040x}-docker" for number in range(7)]
        plant = 'ln -s /nowhere "$1" && touch -d "2031-01-01 00:00:0$2" "$1.facts"'
        for number, key in enumerate(made):
            host.run(Cmd(("sh", "-c", plant, "-", f"{roots}/{key}", str(number))))
        try:
            rows = {row["name"].partition(" ")[0]: row for row in pruned(app)["rows"] if row["kind"] == "nix root"}
            there = listed()
        finally:
            for key in made:
                host.run(Cmd(("rm", "-f", f"{roots}/{key}", f"{roots}/{key}.facts")))
        assert {key for key in made if rows[key]["goes"]} == set(made[:2])
        assert {rows[key]["why"] for key in real} == {f"revision 1 of coulomb/{app.name} has it"}, "what is live was built from that tree"
        assert there & set(made) == set(made[2:])
        assert real <= there


def test_a_helm_release_is_taken_away_by_name_and_its_volume_stays(app: App) -> None:
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": f"{app.name}-data"},
             "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}}  # fmt: skip
    (app.root / "chart/templates/claim.yaml").write_text(json.dumps(claim))
    app.commit("A volume")
    assert app.inv("deploy").returncode == 0
    kinds = "deployments,services,configmaps,persistentvolumeclaims,secrets,leases"

    def named() -> list[str]:
        return [each for each in app.kubectl("get", kinds, "--output", "name").split() if app.name in each]

    before = named()
    for words in (("remove", "--yes"), ("remove", "other", "--yes"), ("remove", app.name)):
        refused = app.inv(*words)
        assert refused.returncode == 2, refused.stdout + refused.stderr
    assert f"stays  PersistentVolumeClaim/{app.name}-data: it may hold data" in refused.stderr
    shown = app.inv("remove", app.name, "--dry-run")
    assert "goes   Deployment/" in shown.stdout
    assert named() == before, "nothing has gone"
    done = app.inv("remove", app.name, "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    left = {each.partition("/")[0] for each in named()}
    assert left == {"persistentvolumeclaim", "secret", "lease.coordination.k8s.io"}
    assert [each for each in named() if each.startswith("secret")] == [f"secret/{app.name}"], "no revision is left"
    again = app.inv("remove", app.name)
    assert (again.returncode, again.stdout.strip()) == (0, f"there is no release coulomb/{app.name}")
    assert "remove" in app.inv("history").stdout
    assert app.inv("deploy").returncode == 0, "it comes back, to the volume that stayed"
    app.kubectl("delete", "persistentvolumeclaim", f"{app.name}-data", "--wait=false")


@pytest.mark.parametrize("face", ["coulombcore", "hub"])
def test_the_statements_of_an_image_go_with_it(lab: Site, face: str) -> None:
    place = PLACE.format(f"prune-{secrets.token_hex(4)}")
    client = client_of(lab, face, "pull,push,delete")
    digests = [push(client, place, tag, tag) for tag in ("aaaaaaa", "bbbbbbb")]
    for digest in digests:
        manifest = client.manifest(place, digest)
        assert manifest
        bundle = Bundle(Source("t" * 40, "c" * 40, False, ""), "builder", "/nix/store/x", "sha256-x", manifest.config)
        provenance.attach(client, place, manifest, bundle, lab)
    assert len(provenance.statements(client, place, digests[0])) == 1
    provenance.detach(client, place, digests[0])
    client.delete(place, digests[0])
    assert set(client.tags(place)) == {"bbbbbbb", provenance.tag(digests[1])}
    assert len(provenance.statements(client, place, digests[1])) == 1
    assert client.manifest(place, digests[1])


FLUX = """app: {name}
site: .pipeline/lab/site.yml
stages:
  sync: {{driver: git, host: haskelseed}}
  build: {{driver: nix, host: haskelseed}}
  push: {{driver: skopeo, registry: ghcr, repository: coulomb/{name}}}
  deploy:
    driver: flux
    cluster: railiance01
    remote: gitops
    namespace: {name}
    release: web
    system: {name}
    source: fade
    kustomization: fade
    path: clusters
    file: clusters/release.yaml
    values: {{image: "{{reference}}", text: "{{short}}"}}
"""


def _committed(root: Path, number: int) -> str:
    """A commit of an hour of its own in a copy of the test's own; its short name."""
    day = f"2030-01-01T{number:02d}:00:00Z"
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    env = {**os.environ, "GIT_AUTHOR_DATE": day, "GIT_COMMITTER_DATE": day}
    subprocess.run(["git", *who, "-C", str(root), "commit", "--quiet", "--allow-empty", f"--message={number}"], check=True, env=env)
    return subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout[:7]


def test_what_flux_uses_stays(lab: Site, tmp_path: Path) -> None:
    """The HelmRelease's image, that of the release before it, one that another object of the Kustomization names, and the one that an image
    policy has chosen: it would be the next that Flux writes."""
    with flow(lab, tmp_path) as made:
        name, root = made.namespace, tmp_path / "copy"
        (root / "config").mkdir(parents=True)
        (root / ".pipeline/lab").mkdir(parents=True)
        (root / ".pipeline/lab/site.yml").symlink_to((ROOT / ".pipeline/lab/site.yml").resolve())
        (root / "config" / f"{name}.yml").write_text(FLUX.format(name=name))
        subprocess.run(["git", "init", "--quiet", str(root)], check=True)
        client, place = client_of(lab, "ghcr"), f"coulomb/{name}"
        image = f"{lab.registry('ghcr').address}/{place}"
        tags = [_committed(root, number) for number in range(12)]
        digests = {tag: push(client, place, tag, tag) for tag in tags}
        before, now, other, chosen, *_ = tags
        for tag in (before, now):
            values = {"image": f"{image}:{tag}@{digests[tag]}", "text": tag, "replicas": 0}
            made.settled(made.set(values), values)
        job = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "other", "namespace": name}, "spec": {
            "schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": {"spec": {
                "restartPolicy": "Never", "containers": [{"name": "a", "image": f"{image}:{other}"}]}}}}}}  # fmt: skip
        made.settled(made.commit({"clusters/other.yaml": yaml.safe_dump(job)}), values)
        repository, policy = Ref("ImageRepository", name, "web"), Ref("ImagePolicy", name, "web")
        spec = {"image": image, "interval": "10m", "insecure": True, "provider": "generic"}
        only = {"imageRepositoryRef": {"name": "web"}, "filterTags": {"pattern": f"^{chosen}$"}, "policy": {"alphabetical": {}}}
        try:
            for ref, body in ((repository, spec), (policy, only)):
                meta = {"name": "web", "namespace": name}
                made.kube.create(ref.collection, {"apiVersion": KINDS[ref.kind][0], "kind": ref.kind, "metadata": meta, "spec": body})
            end = time.monotonic() + 60
            while ((made.kube.get(policy.path) or {}).get("status") or {}).get("latestRef", {}).get("tag") != chosen:
                assert time.monotonic() < end, (made.kube.get(repository.path), made.kube.get(policy.path))
                time.sleep(0.2)
            blueprint = load(root / "config", name)
            with blueprint.site() as site:
                rows = prune(blueprint, site, root / "config")
        finally:
            for ref in (policy, repository):
                made.kube.delete(ref.path)
        why = {row.name.partition(" ")[0].rpartition(":")[2]: row.why for row in rows}
        assert why[before].endswith("has it"), why
        assert {tag for tag in client.tags(place) if not tag.startswith("sha256-")} == {before, now, other, chosen, *tags[-5:]}, why
        assert why[chosen] == f"ImagePolicy {name}/web has chosen it"
