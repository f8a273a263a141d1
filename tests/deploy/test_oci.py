"""A chart in a registry: what is asked for it, how its version is found, and what is refused."""

from __future__ import annotations

import dataclasses
import errno
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts import Source
from pipeline.deploy import oci, packed, publish, shared
from pipeline.deploy.helm import present
from pipeline.deploy.spec import Helm
from pipeline.errors import AuthError, ConfigError, IntegrityError, ResourceError, Transient
from pipeline.events import Event, What
from pipeline.plan import load
from pipeline.records import Records
from pipeline.secrets import Secrets
from pipeline.stage import Registry, Site
from pipeline.testing.registry import FakeRegistry
from pipeline.testing.registry_handler import PASSWORD, USER
from pipeline.tools import references

SOURCE = Source("7e" * 20, "c0" * 20, False, "/w")
CHART = "oci://reg/team/web"


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry(realm="http://127.0.0.1:9/does/not/answer") as fake:
        yield fake


@pytest.fixture
def site(registry: FakeRegistry, tmp_path: Path, events: list[Event]) -> Iterator[Site]:
    root = tmp_path / "copy"
    (root / "chart/templates").mkdir(parents=True)
    raised(root, "1.0.0")
    helm = tmp_path / "helm"
    helm.write_text("#!/bin/sh\nexit 0\n")
    helm.chmod(0o755)
    spec = Registry(registry.address, "http", "own", USER, "env:REG")
    records = Records(tmp_path / "r.db")
    made = Site("web", root, {}, {}, {"reg": spec}, {}, {"helm": str(helm)}, {}, records, Secrets({"REG": PASSWORD}), sink=events.append)
    yield made
    made.close()


def raised(root: Path, version: str, text: str = "a: b\n") -> None:
    (root / "chart/Chart.yaml").write_text(f"apiVersion: v2\nname: web\nversion: {version}\ndescription: A web\n")
    (root / "chart/templates/x.yaml").write_text(text)


def spec(**options: Any) -> Helm:
    return Helm("lab", "shop", "web", **{"chart": CHART, "source": "chart", **options})


def pushed(site: Site, *versions: str) -> dict[str, str]:
    found = {}
    for version in versions:
        raised(site.root, version)
        found[version] = publish.push(spec(), site, SOURCE).digest
    return found


def anew(site: Site) -> Site:
    """The site of another run in the same working copy; its connections are this one's."""
    return dataclasses.replace(site, shared={name: value for name, value in site.shared.items() if not name.startswith("chart ")})


def asked(registry: FakeRegistry) -> list[str]:
    found = [f"{each.method} {each.path.removeprefix('/v2/team/web/')[:16]}" for each in registry.asked if "/v2/team" in each.path]
    registry.asked.clear()
    return found


def test_a_version_costs_one_head_and_a_second_look_in_the_run_none(site: Site, registry: FakeRegistry) -> None:
    digest = pushed(site, "1.0.0")["1.0.0"]
    asked(registry)
    run = anew(site)
    for _ in range(3):
        assert oci.named(spec(version="1.0.0", source=""), run) == oci.Named("1.0.0", digest)
    assert asked(registry) == ["HEAD manifests/1.0.0"]


def test_the_source_says_the_version_and_costs_no_more(site: Site, registry: FakeRegistry) -> None:
    pushed(site, "1.0.0", "1.1.0")
    asked(registry)
    assert oci.named(spec(), anew(site)).version == "1.1.0"
    assert asked(registry) == ["HEAD manifests/1.1.0"]


def test_what_is_pinned_by_digest_is_not_asked_for(site: Site, registry: FakeRegistry) -> None:
    digest = pushed(site, "1.0.0")["1.0.0"]
    chosen = spec(version=f"1.0.0@{digest}", source="", pinned=True)
    oci.pulled(chosen, site)
    asked(registry)
    made = oci.pulled(chosen, anew(site))
    assert asked(registry) == []
    assert (made.name, made.version, made.digest) == ("web", "1.0.0", f"1.0.0@{digest}")


def test_the_content_is_pulled_once_into_a_private_cache(site: Site, registry: FakeRegistry) -> None:
    pushed(site, "1.0.0")
    asked(registry)
    made = oci.pulled(spec(version="1.0.0", source=""), anew(site))
    assert [each.split()[0] for each in asked(registry)] == ["HEAD", "GET", "GET"]
    assert dict(made.files)["templates/x.yaml"] == b"a: b\n"
    assert made.folder.suffix == ".tgz"
    assert {file.stat().st_mode & 0o777 for file in made.folder.parent.iterdir()} == {0o600}
    assert made.folder.parent.stat().st_mode & 0o777 == 0o700
    oci.pulled(spec(version="1.0.0", source=""), anew(site))
    assert asked(registry) == ["HEAD manifests/1.0.0"]


@pytest.mark.parametrize(
    ("wanted", "version"), [("latest", "1.10.0"), ("^1.1", "1.10.0"), ("~1.1", "1.1.5"), (">=2.0.0-rc.1", "2.0.0-rc.1")]
)
def test_a_range_is_resolved_told_and_recorded(site: Site, registry: FakeRegistry, events: list[Event], wanted: str, version: str) -> None:
    digests = pushed(site, "1.1.5", "1.10.0", "2.0.0-rc.1")
    events.clear()
    asked(registry)
    assert oci.named(spec(version=wanted, source=""), anew(site)) == oci.Named(version, digests[version])
    assert asked(registry) == ["GET tags/list?n=1000", f"HEAD manifests/{version}"[:21]]
    assert any(event.what is What.LOG and f"{wanted} is {version}" in event.text for event in events)
    assert site.records.hint(f"chart oci://{registry.address}/team/web:{version}") == digests[version]


def test_what_is_not_there_is_told_with_what_is(site: Site) -> None:
    with pytest.raises(ConfigError, match=r"has no version 1\.0\.0") as none:
        oci.named(spec(), site)
    assert (none.value.cause, none.value.mend) == ("it has no chart at all", "inv chart.push publishes chart/")
    pushed(site, "1.0.0", "1.1.0")
    with pytest.raises(ConfigError, match=r"has no version 1\.2\.0") as missing:
        oci.named(spec(version="1.2.0", source=""), anew(site))
    assert (missing.value.cause, missing.value.mend) == ("there are 1.1.0, 1.0.0", "name one of these")
    with pytest.raises(ConfigError, match=r"has no version that \^2 allows"):
        oci.named(spec(version="^2", source=""), anew(site))


def test_a_version_that_became_another_chart_is_refused_until_it_is_pinned(site: Site, registry: FakeRegistry) -> None:
    digests = pushed(site, "1.0.0", "1.1.0")
    registry.tags["team/web", "1.0.0"] = digests["1.1.0"]
    with pytest.raises(IntegrityError, match=r"version 1\.0\.0 of the chart .* is not what it was") as moved:
        oci.named(spec(version="1.0.0", source=""), anew(site))
    assert digests["1.0.0"] in moved.value.cause
    assert f"version: 1.0.0@{digests['1.1.0']}" in moved.value.mend
    with pytest.raises(IntegrityError, match=r"holds chart web 1\.1\.0"):
        oci.pulled(spec(version=f"1.0.0@{digests['1.1.0']}", source=""), anew(site))


def test_a_working_copy_whose_chart_was_changed_but_not_its_version_is_refused(site: Site) -> None:
    pushed(site, "1.0.0")
    raised(site.root, "1.0.0", "a: c\n")
    with pytest.raises(ConfigError, match=r"chart/ is not what oci://.*:1\.0\.0 is") as changed:
        oci.named(spec(), anew(site))
    assert "raise the version in chart/Chart.yaml" in changed.value.mend
    assert oci.named(spec(version="1.0.0"), anew(site)).version == "1.0.0"


def test_a_chart_with_the_commit_as_its_app_version_is_still_the_source_s(site: Site) -> None:
    publish.push(spec(), site, SOURCE, "c0c0c0c")
    assert oci.named(spec(), anew(site)).version == "1.0.0"


def test_a_cache_that_was_changed_is_refused(site: Site, registry: FakeRegistry) -> None:
    pushed(site, "1.0.0")
    file = oci.pulled(spec(), anew(site)).folder
    file.write_bytes(packed.pack("web", (("Chart.yaml", b"name: web\nversion: 1.0.0\n"), ("templates/x.yaml", b"evil: true\n"))))
    with pytest.raises(IntegrityError, match="is not what its name says") as tampered:
        oci.pulled(spec(), anew(site))
    assert "delete it" in tampered.value.mend
    assert str(site.root) not in tampered.value.what
    file.unlink()
    assert oci.pulled(spec(), anew(site)).folder == file


def test_n08_content_that_is_not_what_its_digest_says_never_gets_into_the_cache(site: Site, registry: FakeRegistry) -> None:
    pushed(site, "1.0.0")
    for digest, body in list(registry.blobs.items()):
        registry.blobs[digest] = body[:-1] + b"x"
    with pytest.raises(IntegrityError, match="not what its digest says"):
        oci.pulled(spec(version="1.0.0", source=""), anew(site))
    assert [file.suffix for file in (site.root / ".pipeline/charts").iterdir()] == [".json"]


def test_a_full_disk_leaves_no_half_a_chart(site: Site, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    pushed(site, "1.0.0")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ResourceError, match="cannot be kept") as raised_:
        oci.pulled(spec(version="1.0.0", source=""), anew(site))
    assert "No space left" in raised_.value.cause
    assert list((site.root / ".pipeline/charts").iterdir()) == []
    monkeypatch.undo()
    assert oci.pulled(spec(version="1.0.0", source=""), anew(site)).version == "1.0.0"


@pytest.mark.parametrize(
    ("manifest", "why"),
    [
        (
            {"config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "sha256:" + "0" * 64}, "layers": []},
            "its configuration is",
        ),
        ({"config": {"mediaType": packed.CONFIG, "digest": "sha256:" + "0" * 64}, "layers": []}, "its configuration is"),
        ({"manifests": []}, "KeyError"),
    ],
)
def test_an_image_under_the_chart_s_name_is_refused(site: Site, registry: FakeRegistry, manifest: dict[str, Any], why: str) -> None:
    body = json.dumps({"schemaVersion": 2, **manifest}).encode()
    digest = references.digest_of(body)
    registry.manifests["team/web", digest] = (packed.MANIFEST, body)
    registry.tags["team/web", "1.0.0"] = digest
    with pytest.raises(IntegrityError, match="is not a chart") as caught:
        oci.pulled(spec(version="1.0.0", source=""), site)
    assert why in caught.value.cause


def test_content_that_the_registry_has_lost_is_named(site: Site, registry: FakeRegistry) -> None:
    pushed(site, "1.0.0")
    registry.blobs.clear()
    with pytest.raises(IntegrityError, match=r"has lost the content of oci://.*:1\.0\.0") as lost:
        oci.pulled(spec(version="1.0.0", source=""), anew(site))
    assert lost.value.mend == "push that chart again"


def test_a_registry_that_refuses_or_fails_is_told_as_itself(site: Site, registry: FakeRegistry) -> None:
    registry.fault("HEAD", "manifests/1.0.0", status=503, count=1)
    with pytest.raises(Transient, match="failed"):
        oci.named(spec(version="1.0.0", source=""), site)
    registry.never_accepts = True
    with pytest.raises(AuthError, match="refused user anna"):
        oci.named(spec(version="1.0.0", source=""), anew(site))


def test_a_chart_that_nobody_published_is_told_by_one_look_that_the_deploy_does_not_repeat(
    site: Site, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "present", lambda *_: None)  # the cluster is not what this is about
    with pytest.raises(ConfigError, match="has no version 1\\.0\\.0") as caught:
        present(spec(), site)
    assert caught.value.mend == "inv chart.push publishes chart/"
    pushed(site, "1.0.0")
    asked(registry)
    run = anew(site)
    present(spec(), run)
    oci.named(spec(), run)
    assert asked(registry) == ["HEAD manifests/1.0.0"]


def test_a_registry_is_named_or_a_host(site: Site, registry: FakeRegistry) -> None:
    assert str(oci.place(CHART, site)) == f"oci://{registry.address}/team/web"
    by_host = oci.place(f"oci://{registry.address}/team/web", site)
    assert by_host.client is oci.place(CHART, site).client
    stranger = oci.place("oci://charts.example.org/team/web", site)
    assert str(stranger.client.origin) == "https://charts.example.org"
    for wrong, what in (
        ("oci://rge/team/web", "did you mean 'reg'"),
        ("oci://reg/Team/web", "not the name of a repository"),
        ("oci://reg", "not the"),
    ):
        with pytest.raises(ConfigError, match=what):
            oci.place(wrong, site)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"source": ""}, "has a version"),
        ({"version": "^1", "pinned": True}, "says pinned"),
        ({"version": "latest", "pinned": True}, "says pinned"),
        ({"version": "1.0.0@sha256:abc"}, "pins nothing"),
        ({"version": "latest@sha256:" + "0" * 64}, "pins nothing"),
        ({"source": "../chart"}, "not a folder inside"),
        ({"chart": "chart", "source": "", "version": "1.0.0"}, "version is said of a chart in a registry"),
        ({"chart": "chart"}, "source is said of a chart in a registry"),
        ({"chart": "chart", "source": "", "pinned": True}, "pinned is said of a chart in a registry"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(options: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        spec(**options)


def test_a_blueprint_that_says_pinned_takes_one_version_or_the_source_s(site: Site) -> None:
    digest = pushed(site, "1.0.0")["1.0.0"]
    assert oci.named(spec(pinned=True), anew(site)).digest == digest
    assert oci.named(spec(pinned=True, version="1.0.0", source=""), anew(site)).digest == digest


def test_a_password_that_is_missing_is_told_before_anybody_is_asked(site: Site, registry: FakeRegistry) -> None:
    oci.needs(CHART, site)
    oci.needs("oci://charts.example.org/team/web", site)
    spoilt = dataclasses.replace(site.registry("reg"), password="env:NOT_THERE")
    with pytest.raises(AuthError, match="NOT_THERE"):
        oci.needs(CHART, dataclasses.replace(site, registries={"reg": spoilt}, shared={}))
    assert registry.asked == []


def test_a_blueprint_s_mistake_is_told_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    file = tmp_path / "config/web.yml"
    build = "{driver: tagged, registry: reg, repository: team/web}"
    deploy = "{driver: helm, cluster: lab, namespace: shop, release: web, chart: oci://reg/team/web, version: latest, pinned: true}"
    file.write_text(f"app: web\nstages:\n  build: {build}\n  deploy: {deploy}\n")
    with pytest.raises(ConfigError, match=r"web\.yml:4: stages\.deploy: version 'latest' may be another chart tomorrow"):
        load(tmp_path / "config")
    file.write_text(file.read_text().replace("version: latest, pinned: true", "verison: 1.0.0"))
    with pytest.raises(ConfigError, match=r"verison is not known; did you mean 'version'\?"):
        load(tmp_path / "config")
    file.write_text(file.read_text().replace("verison: 1.0.0", "version: 1.0"))
    with pytest.raises(ConfigError, match=r"version takes text, not 1\.0; put quotes around it"):
        load(tmp_path / "config")
