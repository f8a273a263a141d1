"""Publishing a chart: once under its version, found ever after, and never another under the same."""

from __future__ import annotations

import dataclasses
import io
import json
import tarfile
from pathlib import Path

import pytest

from pipeline.deploy import packed, publish
from pipeline.deploy.spec import Helm
from pipeline.errors import Ambiguous, AuthError, ConfigError, IntegrityError
from pipeline.events import Event
from pipeline.stage import Site, Stage
from pipeline.testing.registry import FakeRegistry
from pipeline.tools import references
from tests.deploy.test_oci import SOURCE, anew, asked, raised, registry, site, spec

__all__ = ["registry", "site"]


def writes(registry: FakeRegistry) -> list[str]:
    return [each for each in asked(registry) if each.startswith(("PUT", "POST", "PATCH"))]


def test_published_once_and_found_by_one_head(site: Site, registry: FakeRegistry) -> None:
    done = publish.push(spec(), site, SOURCE)
    assert (done.reference, done.version, done.state) == (f"oci://{registry.address}/team/web:1.0.0", "1.0.0", "made")
    assert registry.tags["team/web", "1.0.0"] == done.digest
    asked(registry)
    assert publish.push(spec(), anew(site), SOURCE) == dataclasses.replace(done, state="found")
    assert asked(registry) == ["HEAD manifests/1.0.0"]


def test_what_helm_looks_for_is_there(site: Site, registry: FakeRegistry) -> None:
    done = publish.push(spec(), site, SOURCE)
    kind, body = registry.manifests["team/web", done.digest]
    manifest = json.loads(body)
    assert kind == manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert manifest["config"]["mediaType"] == "application/vnd.cncf.helm.config.v1+json"
    (layer,) = manifest["layers"]
    assert layer["mediaType"] == "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
    assert json.loads(registry.blobs[manifest["config"]["digest"]]) == {
        "apiVersion": "v2", "name": "web", "version": "1.0.0", "description": "A web",
    }  # fmt: skip
    with tarfile.open(fileobj=io.BytesIO(registry.blobs[layer["digest"]])) as tar:
        assert tar.getnames() == ["web/Chart.yaml", "web/templates/x.yaml"]
    assert (len(registry.blobs[layer["digest"]]), len(registry.blobs[layer["digest"]])) == (layer["size"], done.size)


def test_both_are_recorded(site: Site) -> None:
    done = publish.push(spec(), site, SOURCE)
    publish.push(spec(), site, SOURCE)
    found, made = site.records.history()
    assert (made.stage, made.state, found.state) == ("chart", "made", "found")
    assert (made.detail["why"], made.detail["digest"], made.detail["commit"]) == (done.reference, done.digest, SOURCE.commit)
    assert site.records.unfinished() == []


def test_another_content_under_the_same_version_is_refused_with_what_to_do(site: Site, registry: FakeRegistry) -> None:
    first = publish.push(spec(), site, SOURCE)
    raised(site.root, "1.0.0", "a: c\n")
    asked(registry)
    with pytest.raises(IntegrityError, match=r"version 1\.0\.0 of oci://.* is another chart already") as refused:
        publish.push(spec(), anew(site), SOURCE)
    assert "what differs: templates/x.yaml" in refused.value.cause
    assert "1.0.1 is next" in refused.value.mend
    assert writes(registry) == []
    assert registry.tags["team/web", "1.0.0"] == first.digest
    assert site.records.history(1)[0].state == "failed"
    raised(site.root, "1.0.1", "a: c\n")
    assert publish.push(spec(), anew(site), SOURCE).state == "made"


def test_what_plain_helm_pushed_is_the_same_chart_by_its_files(site: Site, registry: FakeRegistry) -> None:
    """helm's archive has the times of its files in it: other bytes, the same chart."""
    ready = publish.package(spec(), site)
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as tar:
        for name, content in ready.files:
            entry = tarfile.TarInfo(f"web/{name}")
            entry.size, entry.mtime = len(content), 1_700_000_000
            tar.addfile(entry, io.BytesIO(content))
    manifest = json.loads(ready.made.manifest)
    manifest["layers"][0]["digest"] = references.digest_of(raw.getvalue())
    body = json.dumps(manifest).encode()
    digest = references.digest_of(body)
    registry.blobs |= {manifest["layers"][0]["digest"]: raw.getvalue()}
    registry.manifests["team/web", digest] = (packed.MANIFEST, body)
    registry.tags["team/web", "1.0.0"] = digest
    done = publish.push(spec(), site, SOURCE)
    assert (done.state, done.digest) == ("found", digest)
    assert writes(registry) == []


def test_two_who_publish_at_once_do_not_overwrite_each_other(site: Site, registry: FakeRegistry) -> None:
    other = packed.manifest_of("web", (("Chart.yaml", b"name: web\nversion: 1.0.0\n"),))

    def overtaken() -> None:
        registry.manifests["team/web", other.digest] = (packed.MANIFEST, other.manifest)
        registry.tags["team/web", "1.0.0"] = other.digest

    registry.fault("POST", "blobs/uploads", act=overtaken)
    with pytest.raises(IntegrityError, match="somebody else has just published"):
        publish.push(spec(), site, SOURCE)
    assert registry.tags["team/web", "1.0.0"] == other.digest


def test_a_push_whose_answer_was_lost_is_found_by_the_next_try(site: Site, registry: FakeRegistry) -> None:
    registry.fault("PUT", "manifests/1.0.0", swallow=True)
    with pytest.raises(Ambiguous):
        publish.push(spec(), site, SOURCE)
    assert publish.push(spec(), site, SOURCE).state == "found"


def test_a_chart_that_helm_finds_fault_with_is_not_published(site: Site, registry: FakeRegistry, tmp_path: Path) -> None:
    (tmp_path / "helm").write_text(
        '#!/bin/sh\necho "==> Linting $3"\necho "[ERROR] templates/: parse error at (web/templates/x.yaml:2): x"\nexit 1\n'
    )
    with pytest.raises(ConfigError, match=r"helm finds fault with the chart: web/templates/x\.yaml:2"):
        publish.push(spec(), site, SOURCE)
    assert writes(registry) == []
    assert registry.tags == {}


def test_an_account_that_may_not_write_is_told(site: Site, registry: FakeRegistry) -> None:
    registry.fault("POST", "blobs/uploads", status=403, body=b'{"errors": [{"code": "DENIED", "message": "no"}]}', count=9)
    with pytest.raises(AuthError) as denied:
        publish.push(spec(), site, SOURCE)
    assert "DENIED no" in denied.value.cause


def test_the_app_version_may_be_given(site: Site, registry: FakeRegistry) -> None:
    done = publish.push(spec(), site, SOURCE, "c0c0c0c")
    config = json.loads(registry.manifests["team/web", done.digest][1])["config"]["digest"]
    assert json.loads(registry.blobs[config])["appVersion"] == "c0c0c0c"
    assert "appVersion" not in (site.root / "chart/Chart.yaml").read_text()


def test_a_chart_is_published_under_its_own_name_only(site: Site) -> None:
    with pytest.raises(ConfigError, match="calls the chart 'web', but it would be published as 'shop'") as other:
        publish.package(spec(chart="oci://reg/team/shop"), site)
    assert "chart: oci://reg/team/web" in other.value.mend


def test_a_chart_it_depends_on_has_to_lie_beside_it(site: Site) -> None:
    with (site.root / "chart/Chart.yaml").open("a") as file:
        file.write("dependencies:\n  - {name: db, version: 1.x, repository: 'oci://reg/team'}\n")
    with pytest.raises(ConfigError, match="chart/charts/ lacks db") as lacking:
        publish.package(spec(), site)
    assert lacking.value.mend == "helm dependency build chart"
    (site.root / "chart/charts").mkdir()
    (site.root / "chart/charts/db-1.2.0.tgz").write_bytes(b"")
    assert publish.package(spec(), site).version == "1.0.0"


def test_a_plus_in_the_version_is_an_underscore_in_the_tag(site: Site, registry: FakeRegistry) -> None:
    raised(site.root, "1.0.0+build.7")
    assert publish.push(spec(), site, SOURCE).version == "1.0.0+build.7"
    assert list(registry.tags) == [("team/web", "1.0.0_build.7")]


def test_the_blueprint_says_what_is_published(events: list[Event]) -> None:
    from pipeline.deploy.helm import DRIVER

    assert publish.source_of((Stage("deploy", DRIVER, spec()),)) == spec()
    for plan in ((), (Stage("deploy", DRIVER, Helm("lab", "shop", "web")),)):
        with pytest.raises(ConfigError, match="publishes no chart") as none:
            publish.source_of(plan)
        assert "source: FOLDER" in none.value.mend
