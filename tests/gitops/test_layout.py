"""The layout of a GitOps repository, and what is done where one is there already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.errors import ConfigError
from pipeline.gitops import system
from pipeline.gitops.compare import Verdict, compare
from pipeline.gitops.layout import Layout, chart_files, layout, lines
from pipeline.gitops.place import Place
from pipeline.gitops.spec import Automation, Forge, Gitops
from pipeline.stage import Registry, Remote
from pipeline.tools import goyaml, unreleased, yamledit
from tests.gitops.parts import place

ROOT = Path(__file__).parents[2]
RELEASE = "clusters/production/fade/release.yaml"
VALUES = "clusters/production/fade/values.yaml"
POLICIES = "infrastructure/configs/network-policies.yaml"
SELECTOR = yamledit.Selector("HelmRelease", "fade", "fade")
LINES: dict[tuple[str, ...], yamledit.Scalar] = {
    ("spec", "suspend"): False,
    ("spec", "values", "commit"): "a" * 40,
    ("spec", "values", "server", "image", "digest"): "sha256:" + "b" * 64,
}


def made(where: Place | None = None, chart: dict[str, bytes] | None = None, registries: dict[str, Registry] | None = None) -> Layout:
    return layout(where or place(), registries or {}, chart or {})


def loaded(found: Layout, path: str) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(found.files[path]) if each]


def verdicts(found: Layout, there: dict[str, bytes], last: dict[str, bytes]) -> dict[str, str]:
    return {each.path: each.state for each in compare(found, there.get, last.get, there)}


def released(text: bytes) -> bytes:
    return yamledit.edit(text.decode(), SELECTOR, LINES).encode()


def test_the_layout_of_the_plan() -> None:
    assert set(made().files) == {
        "clusters/production/fade/namespace.yaml", RELEASE, VALUES, "clusters/production/infrastructure.yaml",
        "infrastructure/sources/helm-repos.yaml", POLICIES,
    }  # fmt: skip


def test_the_release() -> None:
    [found] = loaded(made(), RELEASE)
    assert (found["apiVersion"], found["kind"], found["metadata"]) == (
        "helm.toolkit.fluxcd.io/v2", "HelmRelease", {"name": "fade", "namespace": "fade"},
    )  # fmt: skip
    spec = found["spec"]
    assert spec["interval"] == "5m"
    assert spec["timeout"] == "300s"
    assert spec["chart"]["spec"] == {
        "chart": "./helm/fade", "reconcileStrategy": "Revision",
        "sourceRef": {"kind": "GitRepository", "name": "flux-system", "namespace": "flux-system"},
    }  # fmt: skip
    assert spec["install"]["remediation"] == {"retries": 0}
    assert spec["upgrade"]["remediation"] == {"retries": 0, "remediateLastFailure": False}
    assert spec["driftDetection"] == {"mode": "enabled"}
    assert spec["valuesFrom"] == [{"kind": "ConfigMap", "name": "fade-values"}]


def test_before_the_first_release_nothing_can_be_deployed_by_accident() -> None:
    [found] = loaded(made(), RELEASE)
    assert found["spec"]["suspend"] is True
    assert found["spec"]["values"] == {
        "server": {"image": {"repository": "unreleased.invalid/web", "digest": "sha256:" + "0" * 64}}, "commit": "0" * 40,
    }  # fmt: skip
    assert unreleased.waits(found)
    started = yaml.safe_load(yamledit.edit(made().files[RELEASE].decode(), SELECTOR, unreleased.START))
    assert started["spec"]["suspend"] is False
    assert not unreleased.waits(started)


def test_values_of_people_begin_as_the_blueprint_says_and_are_watched() -> None:
    [found] = loaded(made(place(values={"ingress": {"host": "fade.test"}, "text": "a: b #c"})), VALUES)
    assert found["metadata"]["labels"] == {"reconcile.fluxcd.io/watch": "Enabled"}
    assert yaml.safe_load(found["data"]["values.yaml"]) == {"ingress": {"host": "fade.test"}, "text": "a: b #c"}


def test_values_that_only_look_like_something_else_stay_text_to_flux() -> None:
    given = {"ready": "y", "mode": "0o17", "port": "1e3", "since": "2026-01-01", "sign": "="}
    [found] = loaded(made(place(values=given)), VALUES)
    assert goyaml.values(found["data"]["values.yaml"], VALUES) == [given]


def test_a_chart_with_policies_of_its_own_is_not_opened_further() -> None:
    own = {"helm/fade/Chart.yaml": b"name: fade", "helm/fade/templates/p.yaml": b"kind: NetworkPolicy\n"}
    assert [each["metadata"]["name"] for each in loaded(made(chart=own), POLICIES)] == ["closed"]
    assert [each["metadata"]["name"] for each in loaded(made(), POLICIES)] == ["closed", "inside-and-ingress"]


@pytest.mark.parametrize(
    ("chart", "version", "url", "ref"),
    [
        ("oci://hub/owner/charts/fade", "1.2.3", "oci://registry-1.docker.io/owner/charts/fade", {"tag": "1.2.3"}),
        ("oci://lab/charts/fade", "^1.2", "oci://10.0.0.1:5000/charts/fade", {"semver": "^1.2"}),
        ("oci://10.0.0.1:5000/charts/fade", "latest", "oci://10.0.0.1:5000/charts/fade", {"semver": "*"}),
        ("oci://ghcr.io/o/fade", f"1.2.3@sha256:{'a' * 64}", "oci://ghcr.io/o/fade", {"tag": "1.2.3", "digest": f"sha256:{'a' * 64}"}),
    ],
)  # fmt: skip
def test_a_chart_in_a_registry(chart: str, version: str, url: str, ref: dict[str, str]) -> None:
    registries = {"hub": Registry("docker.io"), "lab": Registry("10.0.0.1:5000", "http")}
    found = made(place(chart=chart, version=version, chart_secret="login"), registries=registries)
    [source] = loaded(found, "infrastructure/sources/helm-repos.yaml")
    assert source["kind"] == "OCIRepository"
    assert (source["spec"]["url"], source["spec"]["ref"], source["spec"]["secretRef"]) == (url, ref, {"name": "login"})
    assert source["spec"].get("insecure", False) is ("10.0.0.1" in url)
    [release] = loaded(found, RELEASE)
    assert release["spec"]["chartRef"] == {"kind": "OCIRepository", "name": "fade", "namespace": "flux-system"}
    assert "chart" not in release["spec"]


def test_a_registry_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ConfigError, match="the site has no registry 'hub'"):
        made(place(chart="oci://hub/fade", version="1.0.0"))
    with pytest.raises(ConfigError, match="names no chart"):
        made(place(chart="oci://ghcr.io", version="1.0.0"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"chart": "oci://ghcr/x"}, {"chart": "../x"}, {"chart": "/x"}, {"chart": "-x"},
        {"chart": "oci://a/b", "version": "1", "chart_from": "c"},
        {"version": "1.0.0"}, {"chart_from": "a/../../b"}, {"interval": "often"}, {"chart_secret": "x"},
    ],
)  # fmt: skip
def test_a_section_that_says_two_things_or_nothing_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Gitops(**wrong)  # type: ignore[arg-type]  # what a blueprint could say


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "gitea"},
        {"kind": "gitea", "api": "https://x"},
        {"kind": "github", "token": "env:X"},
        {"kind": "gitea", "api": "x", "token": "env:X"},
    ],
)
def test_a_forge_that_nobody_could_ask_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Forge(**wrong)  # type: ignore[arg-type]  # what a blueprint could say


def test_again_nothing_is_to_do_not_even_after_a_release() -> None:
    files = dict(made().files)
    assert set(verdicts(made(), files, files).values()) == {"same"}
    assert set(verdicts(made(), {**files, RELEASE: released(files[RELEASE])}, files).values()) == {"same"}


def test_what_is_missing_is_new_and_what_people_took_away_stays_away() -> None:
    files = dict(made().files)
    without = {path: body for path, body in files.items() if path != POLICIES}
    assert verdicts(made(), without, {})[POLICIES] == "new"
    assert verdicts(made(), without, files)[POLICIES] == "kept"


def test_a_file_that_nobody_touched_follows_the_blueprint_and_its_release_stays() -> None:
    before, after = made(), made(place(flux={"deadline": 60.0}))
    there = {**before.files, RELEASE: released(before.files[RELEASE])}
    found = {each.path: each for each in compare(after, there.get, dict(before.files).get)}
    assert {each.state for path, each in found.items() if path != RELEASE} == {"same"}
    changed = found[RELEASE]
    assert changed.state == "changed"
    assert changed.wanted == released(after.files[RELEASE])
    assert [line for line in changed.lines() if line[0] in "+-" and line[1] == " "] == ["-  timeout: 300s", "+  timeout: 60s"]


def test_what_people_changed_is_kept_and_shown() -> None:
    files = dict(made().files)
    mine = {**files, RELEASE: files[RELEASE].replace(b"interval: 5m", b"interval: 1h"), VALUES: b"mine"}
    found = {each.path: each for each in compare(made(), mine.get, files.get)}
    assert found[RELEASE].state == "kept"
    assert "-  interval: 1h" in found[RELEASE].lines()
    assert found[VALUES].state == "same"  # theirs from the start


def test_a_line_that_the_blueprint_has_newly_is_the_next_releases_to_write() -> None:
    before = made()
    more = made(
        place(
            lines={
                "server": {"image": {"repository": "{web.repository}", "digest": "{web.digest}"}},
                "commit": "{commit}",
                "node": {"digest": "{node.digest}"},
            }
        )
    )
    there = {**before.files, RELEASE: released(before.files[RELEASE])}
    assert verdicts(more, there, dict(before.files))[RELEASE] == "same"
    assert b"node" in more.files[RELEASE]


def test_a_release_that_is_broken_is_people_s() -> None:
    files = dict(made().files)
    assert verdicts(made(), {**files, RELEASE: b"a: [\n"}, files)[RELEASE] == "kept"


def test_a_chart_is_copied_and_follows_the_working_copy(tmp_path: Path) -> None:
    chart = tmp_path / "chart"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("name: fade\n")
    (chart / "templates/a.yaml").write_bytes(b"\xff binary")
    (chart / ".helmignore").write_text("x\n")
    (chart / ".swp").write_text("x\n")
    where = place(chart_from="chart")
    before = made(where, chart_files(tmp_path, where))
    names = {name for name in before.files if name.startswith("helm/")}
    assert names == {"helm/fade/Chart.yaml", "helm/fade/templates/a.yaml", "helm/fade/.helmignore"}
    (chart / "templates/a.yaml").rename(chart / "templates/b.yaml")
    there = {**before.files, "helm/fade/templates/own.yaml": b"by hand"}
    found = verdicts(made(where, chart_files(tmp_path, where)), there, dict(before.files))
    assert {path: state for path, state in found.items() if state != "same"} == {
        "helm/fade/templates/a.yaml": "gone", "helm/fade/templates/b.yaml": "new",
    }  # fmt: skip


def test_a_chart_that_cannot_be_taken_is_refused(tmp_path: Path) -> None:
    where = place(chart_from="chart")
    with pytest.raises(ConfigError, match="there is no chart in chart"):
        chart_files(tmp_path, where)
    (tmp_path / "chart").mkdir()
    (tmp_path / "chart/Chart.yaml").write_text("name: fade\n")
    (tmp_path / "chart/link").symlink_to("/etc/passwd")
    with pytest.raises(ConfigError, match="chart/link is a symbolic link"):
        chart_files(tmp_path, where)


def test_lines_are_the_scalars_and_not_those_in_lists() -> None:
    assert list(lines({"a": {"b": 1, "c": [1]}, "d": "x"})) == [("spec", "values", "a", "b"), ("spec", "values", "d")]


@pytest.mark.parametrize(
    ("url", "own", "reached"),
    [
        ("git@github.com:owner/{app}-gitops.git", "", "ssh://git@github.com/owner/fade-gitops.git"),
        ("ssh://git@h:30022/o/{app}.git", "", "ssh://git@h:30022/o/fade.git"),
        ("ssh://git@h/x.git", "ssh://git@inside:22/{app}.git", "ssh://git@inside:22/fade.git"),
    ],
)
def test_the_address_as_flux_takes_it(url: str, own: str, reached: str) -> None:
    assert place(url=own).url(Remote(url)) == reached


def test_a_verdict_that_writes_nothing_says_so() -> None:
    assert [Verdict("x", state, b"a", b"b").writes for state in ("same", "new", "changed", "gone", "kept")] == [
        False,
        True,
        True,
        True,
        False,
    ]


def test_names_that_yaml_would_misread_are_quoted() -> None:
    where = place(flux={"branch": "1.0", "source": "on", "kustomization": "yes"}, chart="charts/a: b #c")
    [release] = loaded(made(where), RELEASE)
    assert release["spec"]["chart"]["spec"]["chart"] == "./charts/a: b #c"
    assert release["spec"]["chart"]["spec"]["sourceRef"]["name"] == "on"
    source, applier = yaml.safe_load_all(system.sync(where, "ssh://git@h/x.git"))
    assert (source["metadata"]["name"], source["spec"]["ref"]["branch"], applier["metadata"]["name"]) == ("on", "1.0", "yes")


def test_where_flux_writes_the_images_a_person_starts_it() -> None:
    where = place(automation=Automation({"web": "ghcr.io/owner/web"}), lines={"image": {"tag": "{web.tag}"}})
    text = made(where).files[RELEASE].decode()
    assert "suspend: true # until the image automation has written the first images" in text
    assert 'tag: unreleased # {"$imagepolicy": "flux-system:' in text
