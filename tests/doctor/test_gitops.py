"""The GitOps repository: it answers, we may write, its kinds are current, and each line has exactly one writer."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.deploy.flux_spec import Flux
from pipeline.doctor import gitops
from pipeline.doctor.verdict import Check, Verdict, ask_all
from pipeline.errors import AuthError
from pipeline.gitops import forge
from pipeline.gitops.forge import Known
from pipeline.gitops.spec import Automation, Forge, Gitops
from pipeline.stage import Cluster, Remote
from pipeline.testing.kube import FakeKube
from tests.tools.gitserver import Server, server

from .flux_world import SPEC
from .parts import by_name, site

__all__ = ["server"]

FILE = "clusters/production/fade/release.yaml"
MARKER = ' # {"$imagepolicy": "flux-system:fade:digest"}'
RELEASE = """\
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: fade, namespace: fade}
spec:
  values:
    image:
      digest: sha256:aa
"""
UPDATE = """\
apiVersion: image.toolkit.fluxcd.io/v1
kind: ImageUpdateAutomation
metadata: {name: everything, namespace: flux-system}
spec:
  update: {strategy: Setters, path: ./clusters}
"""
AUTOMATED = Automation({"fade": "ghcr.io/owner/fade"})
Look = Callable[..., dict[str, Verdict]]


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeKube]:
    found = FakeKube(tmp_path)
    yield found
    if found.up:
        found.close()


@pytest.fixture
def look(server: Server, tmp_path: Path, fake: FakeKube) -> Look:
    kubeconfig = fake.kubeconfig()

    def asked(spec: Flux = SPEC, automation: Automation | None = None, keeper: Forge | None = None) -> dict[str, Verdict]:
        remotes = {"gitops": Remote(f"ssh://git@server.test{server.path}")}
        with site(tmp_path, remotes=remotes, clusters={"k3s": Cluster(str(kubeconfig))}) as here:
            section = Gitops(chart="oci://hub/fade", version="1.0.0", automation=automation, forge=keeper)
            return by_name(ask_all([Check(gitops.name(spec), "branch", lambda: gitops.look(spec, section, here))]))

    return asked


def test_all_is_well_and_nothing_is_written(server: Server, look: Look, fake: FakeKube) -> None:
    definition(fake, "v2")
    commit = server.person({FILE: RELEASE})
    found = look()
    assert {verdict.status for verdict in found.values()} == {"ok"}, found
    assert found["branch"].evidence == f"ssh://git@server.test{server.path} answers, main is at {commit[:7]}"
    assert found["key"].evidence == "our key may write there"
    assert found["lines"].evidence == "1 are the pipeline's, and nobody else's"
    assert (server.head, server.git("for-each-ref", "--format=%(refname)")) == (commit, "refs/heads/main")


def test_a_server_that_is_down_and_a_branch_that_is_not_there(server: Server, look: Look) -> None:
    (verdict,) = look().values()
    assert (verdict.status, verdict.code, "the repository is empty" in verdict.evidence) == ("fail", 2, True)
    server.person({"README.md": "hello\n"})
    assert look()["release"].mend.startswith("inv flux.init")
    server.down()
    (verdict,) = look().values()
    assert (verdict.status, verdict.code) == ("fail", 10)


def test_a_key_that_may_only_read_is_told_before_a_release_needs_it(
    server: Server, look: Look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.person({FILE: RELEASE})
    ssh = server.folder / "bin" / "ssh"
    said = "ERROR: The key you are authenticating with has been marked as read only."
    ssh.write_text(ssh.read_text().replace("exec sh", f'case "$last" in *receive-pack*) echo "{said}" >&2; exit 1;; esac\nexec sh'))
    verdict = look()["key"]
    assert (verdict.status, verdict.code, said in verdict.evidence) == ("fail", 11, True)
    assert "write access" in verdict.mend


def definition(fake: FakeKube, *versions: str) -> None:
    """The CRD of HelmRelease, with `spec.values` alone."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    spec = {"type": "object", "properties": {"values": anything}}
    texts = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}}
    shape = {"type": "object", "properties": {**texts, "spec": spec}}
    served = [{"name": each, "served": True, "schema": {"openAPIV3Schema": shape}} for each in versions]
    name = "helmreleases.helm.toolkit.fluxcd.io"
    value = {"group": "helm.toolkit.fluxcd.io", "names": {"kind": "HelmRelease"}, "versions": served}
    fake.put(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}", {"metadata": {"name": name}, "spec": value})


def test_an_old_version_is_named_with_its_line_and_whether_the_cluster_still_has_it(server: Server, look: Look, fake: FakeKube) -> None:
    definition(fake, "v2")
    server.person({FILE: RELEASE.replace("/v2\n", "/v2beta2\n"), "helm/fade/templates/x.yaml": "{{ no: yaml"})
    verdict = look()["manifests"]
    assert (verdict.status, verdict.mend) == ("fail", "inv flux.migrate")
    assert verdict.evidence.startswith(f"{FILE}:1: helm.toolkit.fluxcd.io/v2beta2 is not served by this Flux")
    definition(fake, "v2", "v2beta2")
    assert look()["manifests"].status == "warn"
    fake.close()
    assert look()["manifests"].status == "unknown"


def test_a_field_that_flux_does_not_have_is_named_with_its_line(server: Server, look: Look, fake: FakeKube) -> None:
    definition(fake, "v2")
    server.person({FILE: RELEASE.replace("  values:", "  valeus: {}\n  values:")})
    verdict = look()["manifests"]
    assert verdict.status == "fail"
    assert verdict.evidence.startswith(f"{FILE}:5: spec.valeus")


READS, WRITES = (Known(1, "flux", "ssh-ed25519 AAAA a title", right) for right in (True, False))


@pytest.mark.parametrize(
    ("known", "automated", "status", "said"),
    [
        ([READS], False, "ok", "flux may only read, as it has to"),
        ([WRITES], True, "ok", "flux may read and write, as it has to"),
        ([READS], True, "fail", "flux may only read, and gitops.automation has to write"),
        ([WRITES], False, "warn", "flux may write, and nothing of Flux's has to"),
        ([Known(1, "other", "ssh-ed25519 BBBB", True)], False, "fail", "does not know the key in Secret flux-system/flux-system"),
        (AuthError("the forge refuses"), False, "unknown", "the forge refuses"),
    ],
)
def test_flux_s_key_has_the_right_that_it_needs_and_no_more(
    server: Server,
    look: Look,
    fake: FakeKube,
    monkeypatch: pytest.MonkeyPatch,
    known: list[Known] | Exception,
    automated: bool,
    status: str,
    said: str,
) -> None:
    keeper(monkeypatch, known)
    data = {"identity.pub": base64.b64encode(b"ssh-ed25519 AAAA flux\n").decode()}
    fake.put("/api/v1/namespaces/flux-system/secrets/flux-system", {"metadata": {"name": "flux-system"}, "data": data})
    server.person({FILE: RELEASE})
    verdict = look(SPEC, AUTOMATED if automated else None, Forge("github"))["flux's key"]
    assert (verdict.status, said in verdict.evidence) == (status, True), verdict


def test_a_secret_without_a_key(server: Server, look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper(monkeypatch, [])
    server.person({FILE: RELEASE})
    assert look(SPEC, None, Forge("github"))["flux's key"].evidence == "Secret flux-system/flux-system holds no key"


def keeper(monkeypatch: pytest.MonkeyPatch, found: list[Known] | Exception) -> None:
    """A forge that knows these keys."""

    class Keeper:
        def known(self) -> list[Known]:
            if isinstance(found, Exception):
                raise found
            return found

    monkeypatch.setattr(forge, "open_forge", lambda *_: Keeper())


def test_a_line_with_a_marker_that_the_blueprint_knows_nothing_of_has_two_writers(server: Server, look: Look) -> None:
    server.person({FILE: RELEASE.replace("aa", "aa" + MARKER)})
    verdict = look()["lines"]
    assert verdict.status == "fail"
    assert f"{FILE}:7: spec.values.image.digest is written by Flux's image automation (policy flux-system/fade)" in verdict.evidence
    assert "choose one of the two" in verdict.mend
    server.person({"clusters/images.yaml": UPDATE})
    assert "it is run by ImageUpdateAutomation flux-system/everything (clusters/images.yaml:1)" in look()["lines"].evidence


def test_with_automation_each_line_has_the_marker_of_its_policy(server: Server, look: Look) -> None:
    server.person({FILE: RELEASE})
    bare = f"{FILE}: image.digest has not the marker of its policy: nobody writes it"
    verdict = look(SPEC, AUTOMATED)["lines"]
    assert (verdict.status, verdict.evidence, verdict.mend) == ("fail", bare, "inv flux.init puts the markers on")
    server.person({FILE: RELEASE.replace("aa", "aa" + MARKER.replace(":fade:", ":other:"))})
    assert look(SPEC, AUTOMATED)["lines"].evidence == bare
    server.person({FILE: RELEASE.replace("aa", "aa" + MARKER)})
    assert look(SPEC, AUTOMATED)["lines"].evidence == "1 are Flux's, by gitops.automation: inv deploy leaves them alone"


def test_a_line_that_neither_would_write_is_told(server: Server, look: Look) -> None:
    server.person({FILE: RELEASE.replace("aa", "aa" + MARKER)})
    values = {"image": {"digest": "{digest}"}, "commit": "{commit}"}
    verdict = look(dataclasses.replace(SPEC, values=values), AUTOMATED)["lines"]
    assert (verdict.status, "nobody would write {commit} any more" in verdict.evidence) == ("fail", True)


def test_a_marker_that_flux_passes_over_is_told(server: Server, look: Look) -> None:
    server.person({FILE: RELEASE.replace("aa", 'aa # {"$imagepolicy": "fade"}')})
    found = look()
    assert found["markers"].status == "warn"
    assert found["markers"].evidence.startswith(f"{FILE}:7: a marker that Flux passes over: it is not written as")
    assert found["lines"].status == "ok"


def test_what_is_left_of_an_automation_that_was_turned_off_is_told(server: Server, look: Look) -> None:
    server.person({FILE: RELEASE, "clusters/production/fade/image-automation.yaml": UPDATE.replace("everything", "fade")})
    verdict = look()["automation"]
    assert (verdict.status, verdict.mend) == ("warn", "git rm it")
    assert verdict.evidence.startswith("clusters/production/fade/image-automation.yaml:1: flux-system/fade is left of gitops.automation")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ((), ["flux-system/everything"]),
        (("./clusters", "./clusters/production/fade"), ["flux-system/everything"]),
        (("./clusters", "./clusters/staging"), []),
        ((", path: ./clusters", ""), ["flux-system/everything"]),
        (("everything", "fade"), ["flux-system/fade"]),
        (("ImageUpdateAutomation", "ImagePolicy"), []),
        (("metadata: {", "metadata: {{"), []),
    ],
)
def test_who_else_writes_below_our_folder(change: tuple[str, ...], found: list[str]) -> None:
    text = UPDATE.replace(*change) if change else UPDATE  # type: ignore[arg-type]  # two texts
    seen = gitops.writers({"x.yaml": text, FILE: RELEASE}, SPEC)
    assert [each.name for each in seen] == found
    assert [each.ours for each in seen] == [name == "flux-system/fade" for name in found]
