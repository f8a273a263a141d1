"""Charts in a registry, on the lab: in Gitea, whose token realm does not answer, and in one whose realm does."""

from __future__ import annotations

import base64
import dataclasses
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.artifacts import Images, Source
from pipeline.deploy import oci, packed, publish
from pipeline.deploy.chart import read
from pipeline.deploy.helm import find, make
from pipeline.deploy.spec import Helm, SecretSpec
from pipeline.errors import AuthError, ConfigError, IntegrityError
from pipeline.lab import programs
from pipeline.plan import load
from pipeline.records import Records
from pipeline.runner import look, run
from pipeline.stage import Site
from pipeline.tools.kube import path
from pipeline.tools.registry import client_of
from tests.real.deploy_parts import ROOT, World, archive, world

pytestmark = pytest.mark.real
__all__ = ["archive"]
SOURCE = Source("a" * 40, "b" * 40, False, "")
NAME = "ihp-railiance-probe"


@pytest.fixture
def lab_world(lab: Site, tmp_path: Path, archive: Path) -> Iterator[World]:
    yield from world(lab, tmp_path, archive)


@pytest.fixture
def chart(lab_world: World) -> Path:
    return lab_world.site.root / "chart"


def of(lab_world: World, registry: str, **options: Any) -> Helm:
    """The probe's chart in a repository of this test's own."""
    place = f"oci://{registry}/coulomb/{lab_world.namespace}/{NAME}"
    return dataclasses.replace(lab_world.spec(), **{"chart": place, "source": "chart", **options})


def raised(chart: Path, version: str, **files: str) -> None:
    """Another version of the chart, with more templates."""
    lines = (chart / "Chart.yaml").read_text().splitlines()
    text = "\n".join(f"version: {version}" if line.startswith("version:") else line for line in lines)
    (chart / "Chart.yaml").write_text(f"{text}\n")
    for name, template in files.items():
        (chart / f"templates/{name}.yaml").write_text(template)


def anew(site: Site, tmp_path: Path, name: str) -> Site:
    """The same working copy in another process, with records of its own."""
    return dataclasses.replace(site, shared={}, records=Records(tmp_path / f"{name}.db"))


def asked(spec: Helm, site: Site) -> list[str]:
    """The requests to the chart's registry from now on."""
    found: list[str] = []
    origin = oci.place(spec.chart, site).client.origin
    ask = origin.ask

    def counted(method: str, path: str, *rest: Any, **more: Any) -> Any:
        answer = ask(method, path, *rest, **more)
        found.append(f"{method} {answer.status}")
        return answer

    origin.ask = counted  # type: ignore[method-assign]
    return found


@pytest.mark.parametrize("registry", ["coulombcore", "hub"])
def test_d07_published_pulled_once_deployed_and_found_by_one_head(registry: str, lab_world: World, tmp_path: Path) -> None:
    site, spec, images = lab_world.site, of(lab_world, registry), lab_world.image()
    with pytest.raises(ConfigError, match=r"has no version 0\.1\.0") as missing:
        find(spec, images, site)
    assert missing.value.mend == "inv chart.push publishes chart/"
    done = publish.push(spec, site, SOURCE)
    assert (done.state, done.version) == ("made", "0.1.0")
    assert publish.push(spec, site, SOURCE) == dataclasses.replace(done, state="found")

    release = make(spec, images, site)
    assert release.revision == 1
    kept = list((site.root / ".pipeline/charts").iterdir())
    assert {file.stat().st_mode & 0o777 for file in kept} == {0o600}
    assert sorted(file.suffix for file in kept) == [".json", ".tgz"]

    with anew(site, tmp_path, "again") as again:
        requests = asked(spec, again)
        seen = find(spec, images, again)
        assert (seen.artifact, seen.why) == (release, f"revision 1 is live, of chart 0.1.0@{done.digest}")
        heads = [each for each in requests if each.startswith("HEAD")]
        assert heads == (["HEAD 200"] if registry == "coulombcore" else ["HEAD 401", "HEAD 200"])  # the other one names its realm first
        assert not any(each.startswith(("PUT", "POST")) for each in requests)
        assert find(spec, images, again).artifact == release
        assert [each for each in requests if each.startswith("HEAD")] == heads
    assert [revision.number for revision in lab_world.revisions()] == [1]


def test_plain_helm_pulls_what_was_published_and_what_plain_helm_pushed_is_found(lab_world: World, tmp_path: Path) -> None:
    site, spec = lab_world.site, of(lab_world, "hub")
    with (site.root / "chart/Chart.yaml").open("a") as file:
        file.write("annotations: {number: 1, date: 2026-01-01}\n")  # text to helm, though YAML has other ideas
    done = publish.push(spec, site, SOURCE)
    registry = site.registry("hub")
    login = base64.b64encode(f"{registry.username}:{site.secrets.get(registry.password).reveal()}".encode()).decode()
    (tmp_path / "auth.json").write_text(json.dumps({"auths": {registry.address: {"auth": login}}}))

    def helm(*words: str) -> str:
        argv = [site.tool("helm"), *words, "--plain-http", "--registry-config", str(tmp_path / "auth.json")]
        ran = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout + ran.stderr

    place = done.reference.removesuffix(f":{done.version}")
    assert done.digest in helm("pull", place, "--version", "0.1.0")
    (tgz,) = tmp_path.glob("*.tgz")
    assert tgz.read_bytes() == publish.package(spec, site).made.archive
    assert "name: ihp-railiance-probe" in helm("show", "chart", place, "--version", "0.1.0")

    raised(site.root / "chart", "0.2.0")
    subprocess.run(
        [site.tool("helm"), "package", str(site.root / "chart"), "--destination", str(tmp_path)], check=True, capture_output=True
    )
    helm("push", str(tmp_path / f"{NAME}-0.2.0.tgz"), place.rpartition("/")[0])
    found = publish.push(spec, site, SOURCE)
    assert (found.version, found.state) == ("0.2.0", "found")
    assert found.digest != publish.package(spec, site).made.digest
    assert oci.pulled(dataclasses.replace(spec, version="^0.1 || ^0.2", source=""), site).version == "0.2.0"


RULES = (
    "", "*.md", "/*.md", "docs/", "docs/*.md", "docs", "/docs/deep", "deep", "deep/", "?.txt", "[ab].txt", "templates/*.txt", "!*",
    "#x.txt\n\n  b.txt  ", ".*", "values.*", "Chart.lock", "docs/deep/", "*/a.txt", "!*.yaml\n", "!docs",
)  # fmt: skip
NAMES = (
    "a.txt", "b.txt", "cc.txt", "x.md", "docs/y.md", "docs/a.txt", "docs/deep/z.md", "templates/t.yaml",
    "templates/n.txt", "templates/.s", ".hid",
)  # fmt: skip


@pytest.mark.parametrize("rules", RULES)
def test_what_is_left_out_is_what_helm_leaves_out(lab: Site, tmp_path: Path, rules: str) -> None:
    folder = tmp_path / "web"
    for name in NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("# x\n")
    (folder / "Chart.yaml").write_text("apiVersion: v2\nname: web\nversion: 1.0.0\n")
    (folder / "values.yaml").write_text("a: 1\n")
    (folder / ".helmignore").write_text(rules)
    argv = [lab.tool("helm"), "package", str(folder), "--destination", str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    files = read(tmp_path, "web").files
    if done.returncode:
        assert "Chart.yaml file is missing" in done.stderr
        with pytest.raises(ConfigError, match=r"leaves out Chart\.yaml itself"):
            packed.kept(files)
        return
    _, theirs = packed.unpack((tmp_path / "web-1.0.0.tgz").read_bytes(), "helm's")
    assert [name for name, _ in packed.kept(files)] == [name for name, _ in theirs]


def test_a_new_version_of_the_chart_alone_is_a_new_revision_and_the_same_version_never_another(
    lab_world: World, chart: Path, tmp_path: Path
) -> None:
    site, spec, images = lab_world.site, of(lab_world, "coulombcore"), lab_world.image()
    publish.push(spec, site, SOURCE)
    make(spec, images, site)
    raised(chart, "0.1.0", more="apiVersion: v1\nkind: ConfigMap\nmetadata: {name: more}\n")
    with pytest.raises(IntegrityError, match=r"version 0\.1\.0 of .* is another chart already") as taken:
        publish.push(spec, site, SOURCE)
    assert "templates/more.yaml" in taken.value.cause
    with anew(site, tmp_path, "later") as later, pytest.raises(ConfigError, match=r"chart/ is not what .*:0\.1\.0 is"):
        find(spec, images, later)
    raised(chart, "0.1.1")
    publish.push(spec, site, SOURCE)
    why = find(spec, images, site).why
    assert "chart 0.1.0 (sha256:" in why
    assert "is live, 0.1.1 (sha256:" in why
    assert make(spec, images, site).revision == 2
    assert lab_world.kube.get(path("v1", "configmaps", lab_world.namespace, "more")) is not None
    pinned = oci.named(spec, site)
    latest = dataclasses.replace(spec, version="latest", source="")
    assert str(oci.named(latest, site)) == str(pinned)
    assert find(dataclasses.replace(spec, version=str(pinned), pinned=True, source=""), images, site).artifact is not None


def test_values_files_are_layered_and_a_mistake_in_one_has_its_line(lab_world: World) -> None:
    site, images = lab_world.site, lab_world.image()
    (site.root / "values").mkdir()
    base, staging = site.root / "values/base.yaml", site.root / "values/staging.yaml"
    extra = "\n  extra:\n    KIND: base\n    LEGEND: '{{instance}} of {host} v-{short}'\n"
    base.write_text(f"replicas: 1\nenv:\n  baseUrl: http://base.test{extra}")
    staging.write_text("env:\n  baseUrl: https://staging.test\n  extra: {KIND: staging}\n")
    spec = dataclasses.replace(of(lab_world, "coulombcore"), values_files=("values/base.yaml", "values/staging.yaml"))
    publish.push(spec, site, SOURCE)
    made = make(spec, images, site)
    settings = lab_world.kube.list(path("v1", "configmaps", lab_world.namespace))["items"]
    (data,) = [each["data"] for each in settings if "IHP_BASEURL" in each.get("data", {})]
    assert (data["IHP_BASEURL"], data["KIND"], data["LEGEND"]) == ("https://staging.test", "staging", "{{instance}} of {host} v-{short}")
    assert find(spec, images, site).artifact == made

    staging.write_text("env:\n  baseUrl: https://staging.test\n  extar: {KIND: staging}\n")
    with pytest.raises(ConfigError, match=r"^values/staging\.yaml:3: env\.extar is not known to chart .*; did you mean 'extra'\?"):
        make(spec, images, site)
    staging.write_text("env:\n  baseUrl: https://staging.test\nreplicas: 1000\n")
    with pytest.raises(ConfigError, match="do not fit the chart's schema") as unfit:
        make(spec, images, site)
    assert unfit.value.cause == "values/staging.yaml:3: replicas: maximum: got 1,000, want 100"
    assert [revision.number for revision in lab_world.revisions()] == [1]


def test_a_chart_that_does_not_render_leaves_nothing_half_done(lab_world: World, chart: Path) -> None:
    site, images = lab_world.site, lab_world.image()
    spec = of(lab_world, "coulombcore", secret=SecretSpec("web-env", {"IHP_SESSION_SECRET": "value:session_secret"}))
    raised(chart, "0.1.0", broken='{{- if .Values.commit }}\na: {{ fail "not like this" }}\n{{- end }}\n')
    publish.push(spec, site, SOURCE)  # lint does not see it: without a commit it renders
    with pytest.raises(ConfigError, match=r"the chart cannot be rendered: .*/templates/broken\.yaml:2") as broken:
        make(spec, images, site)
    assert "not like this" in broken.value.cause
    assert lab_world.revisions() == []
    assert lab_world.kube.get(path("v1", "secrets", lab_world.namespace, "web-env")) is None
    assert lab_world.kube.list(path("apps/v1", "deployments", lab_world.namespace))["items"] == []
    raised(chart, "0.1.1", broken="{{ if }}\n")
    with pytest.raises(ConfigError, match=r"helm finds fault with the chart: .*/templates/broken\.yaml:1"):
        publish.push(spec, site, SOURCE)
    place = oci.place(spec.chart, site)
    assert place.client.tags(place.repository) == ("0.1.0",)


def test_helm_3_takes_the_same_chart(lab_world: World) -> None:
    tools = {**lab_world.site.tools, "helm": str(programs.ensure("helm3") / "helm3")}
    site, spec, images = dataclasses.replace(lab_world.site, tools=tools), of(lab_world, "coulombcore"), lab_world.image()
    publish.push(spec, site, SOURCE)
    made = make(spec, images, site)
    assert find(spec, images, lab_world.site).artifact == made


def test_a_cache_that_was_changed_is_refused_and_no_helm_is_called(lab_world: World) -> None:
    site, spec, images = lab_world.site, of(lab_world, "coulombcore"), lab_world.image()
    publish.push(spec, site, SOURCE)
    file = oci.pulled(spec, site).folder
    body = file.read_bytes()
    file.write_bytes(body[:-10] + bytes([body[-10] ^ 1]) + body[-9:])
    with pytest.raises(IntegrityError, match=r"\.pipeline/charts/.*\.tgz is not what its name says"):
        make(spec, images, site)
    assert lab_world.revisions() == []
    file.unlink()
    assert make(spec, images, site).revision == 1


def test_a_registry_that_refuses_says_so_before_anything_is_done(lab_world: World, tmp_path: Path) -> None:
    site, images = lab_world.site, lab_world.image()
    for name in ("coulombcore", "hub"):
        (tmp_path / "wrong").write_text("wrong\n")
        (tmp_path / "wrong").chmod(0o600)
        spoilt = dataclasses.replace(site.registry(name), password=f"file:{tmp_path / 'wrong'}")
        with dataclasses.replace(site, registries={name: spoilt}, shared={}, records=Records(tmp_path / f"{name}.db")) as other:
            with pytest.raises(AuthError, match=r"refused|does not know"):
                publish.push(of(lab_world, name), other, SOURCE)
            with pytest.raises(AuthError, match=r"refused|does not know"):
                find(of(lab_world, name, source="", version="0.1.0"), images, other)
    assert lab_world.revisions() == []


@pytest.fixture
def copy(lab_world: World) -> Path:
    """The working copy with a blueprint: an image that others built, a chart in the registry, checks."""
    root, namespace = lab_world.site.root, lab_world.namespace
    values = {
        "image": {"repository": "{repository}", "digest": "{digest}"}, "secretName": "web-env", "ingress": {"kind": "none"},
        "drainSeconds": 1, "terminationGracePeriodSeconds": 2, "preStopSeconds": 0,
    }  # fmt: skip
    blueprint = {
        "app": "web", "site": ".pipeline/lab/site.yml",
        "stages": {
            "build": {
                "driver": "tagged", "registry": "coulombcore", "repository": "coulomb/deploy-test", "default_tag": f"{namespace}-latest",
            },
            "deploy": {
                "driver": "helm", "cluster": "railiance01", "namespace": namespace, "release": "web", "source": "chart",
                "chart": f"oci://hub/coulomb/{namespace}/{NAME}", "values": values, "deadline": 60,
                "secret": {"name": "web-env", "data": {"IHP_SESSION_SECRET": "value:session_secret"}},
            },
            "verify": {"driver": "checks", "cluster": "railiance01"},
        },
    }  # fmt: skip
    (root / "config").mkdir()
    (root / "config/web.yml").write_text(yaml.safe_dump(blueprint, sort_keys=False))
    (root / ".pipeline/lab").mkdir(parents=True)
    (root / ".pipeline/lab/site.yml").symlink_to((ROOT / ".pipeline/lab/site.yml").resolve())
    (root / ".gitignore").write_text(".pipeline/\n")
    for words in (["init", "--quiet", "--initial-branch=main"], ["add", "--all"], ["commit", "--quiet", "--message", "Start"]):
        subprocess.run(["git", "-C", str(root), *words], check=True)
    return root


def tagged(lab_world: World, images: Images, tag: str) -> str:
    """Put a tag on an image. Its digest."""
    client, digest = client_of(lab_world.site, "coulombcore"), images.images[0].digest
    manifest = client.manifest("coulomb/deploy-test", digest)
    assert manifest is not None
    return client.put_manifest("coulomb/deploy-test", tag, manifest)


def test_an_image_of_others_by_a_moving_tag_and_pinned_with_a_chart_from_the_registry(lab_world: World, copy: Path) -> None:
    moving = f"{lab_world.namespace}-latest"
    first = tagged(lab_world, lab_world.image(), moving)
    blueprint = load(copy / "config")
    with blueprint.site() as site:
        spec = next(stage.spec for stage in blueprint.plan if stage.verb == "deploy")
        publish.push(spec, site, SOURCE)
        records = run(blueprint.plan, site)
        assert [(record.stage, record.state) for record in records] == [("build", "found"), ("deploy", "made"), ("verify", "made")]
    with blueprint.site() as site:
        assert [(stage.verb, bool(finding.artifact)) for stage, finding in look(blueprint.plan, site)][:2] == [
            ("build", True),
            ("deploy", True),
        ]
        assert [record.state for record in run(blueprint.plan, site)][:2] == ["found", "found"]
    assert [revision.number for revision in lab_world.revisions()] == [1]

    second = tagged(lab_world, lab_world.image(), moving)  # the tag moves: what it stands for now is deployed, by its digest
    with blueprint.site() as site:
        run(blueprint.plan, site)
    (pod,) = lab_world.pods()
    assert pod["spec"]["containers"][0]["image"].endswith(f"@{second}")
    assert [revision.number for revision in lab_world.revisions()] == [2, 1]

    text = (copy / "config/web.yml").read_text()
    (copy / "config/web.yml").write_text(text.replace("default_tag:", f"tag: {first}\n    default_tag:"))
    pinned = load(copy / "config")
    with pinned.site() as site:
        run(pinned.plan, site)
    assert any(pod["spec"]["containers"][0]["image"].endswith(f"@{first}") for pod in lab_world.pods())
