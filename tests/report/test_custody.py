from __future__ import annotations

import dataclasses

from pipeline.artifacts import Bundle, Check, Images, Report, Tree
from pipeline.report.custody import chain, result
from tests.report.recorded import recorded
from tests.verify.releases import COMMIT, CONFIG, DIGEST, RELEASE, REPOSITORY

SOURCE = RELEASE.source
TREE = Tree(SOURCE, "haskelseed", "/var/lib/pipeline/src/probe")
BUNDLE = Bundle(SOURCE, "haskelseed", "/nix/store/x-docker-image.tar.gz", "sha256-x", CONFIG, size=1_273_440)
IMAGES = Images(SOURCE, RELEASE.images)
REPORT = Report(
    RELEASE, (Check("pods", True, "1 ready on sha256:d1d1d1d1d1d1: probe-1"), Check("GET /healthz", True, '200; status = "ok"')), "http://probe.example"
)  # fmt: skip


def test_the_whole_chain_from_commit_to_url() -> None:
    assert chain([TREE, BUNDLE, IMAGES, RELEASE, REPORT]).splitlines() == [
        f"commit   {COMMIT}",
        f"tree     {'7e' * 20}  haskelseed:/var/lib/pipeline/src/probe",
        "store    /nix/store/x-docker-image.tar.gz  on haskelseed, 1.3 MB",
        f"config   {CONFIG}",
        f"image    {REPOSITORY}:b2b2b2b",
        f"digest   {DIGEST}",
        "release  coulomb/probe revision 3  on railiance01",
        "pods     1 ready on sha256:d1d1d1d1d1d1: probe-1",
        'check    GET /healthz  200; status = "ok"',
        "url      http://probe.example",
    ]


def test_a_report_alone_still_tells_what_it_knows() -> None:
    labels = [line.split()[0] for line in chain([REPORT, None]).splitlines()]
    assert labels == ["commit", "tree", "config", "image", "digest", "release", "pods", "check", "url"]


def test_changes_without_a_commit_are_said() -> None:
    dirty = dataclasses.replace(SOURCE, dirty=True)
    assert chain([dirty]).splitlines()[0] == f"commit  {COMMIT}  with changes that no commit has"


def test_what_does_not_hold_is_loud() -> None:
    bad = dataclasses.replace(REPORT, checks=(Check("GET /", False, "status 404, expected 200"),))
    assert "check    DOES NOT HOLD: GET /  status 404, expected 200" in chain([bad])


def test_g01_evidence_cannot_forge_a_link() -> None:
    forged = dataclasses.replace(REPORT, checks=(Check("GET /", True, "ok\nurl      http://evil.example\x1b[2J"),))
    assert [line for line in chain([forged]).splitlines() if line.startswith("url")] == ["url      http://probe.example"]
    assert "\x1b" not in chain([forged])


def test_the_result_is_the_name_that_the_next_tool_needs() -> None:
    assert result(TREE) == "haskelseed:/var/lib/pipeline/src/probe"
    assert result(BUNDLE) == "/nix/store/x-docker-image.tar.gz"
    assert result(IMAGES) == f"{REPOSITORY}@{DIGEST}"
    assert result(RELEASE) == "coulomb/probe revision 3"
    assert result(None) == ""


def test_the_recorded_cold_run_has_an_unbroken_chain() -> None:
    from pipeline.report.progress import artifact_of

    text = chain([artifact_of(event) for event in recorded("cold")])
    assert [line.split()[0] for line in text.splitlines()] == [
        "commit", "tree", "store", "config", "image", "digest", "release", "pods", "check", "url",
    ]  # fmt: skip


def test_where_the_public_name_is_not_asked_it_says_how_to_ask() -> None:
    """A newcomer's browser does not know the lab's names."""
    assert chain([REPORT], "http://10.211.0.2:8000").splitlines()[-2:] == [
        "url      http://probe.example",
        "ask      curl --connect-to ::10.211.0.2:8000 http://probe.example/",
    ]
    assert chain([REPORT], "http://[fd00::2]").splitlines()[-1].endswith("::[fd00::2]:80 http://probe.example/")
    assert chain([IMAGES], "http://10.211.0.2:8000") == chain([IMAGES])
