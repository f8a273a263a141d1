"""The parts that come on request: in the site file only where they run, and an older lab's file is read as before."""

from __future__ import annotations

import json
import tarfile
from io import BytesIO
from pathlib import Path

import pytest
import yaml

from pipeline.lab import ALL, ON_REQUEST, base, dns, engine, flux, hub, layout, node, start
from pipeline.lab.machine import machines
from pipeline.lab.site import site
from pipeline.lab.start import BUILT_FIRST, PROGRAMS
from pipeline.lab.tasks import collection

LAB = layout.Lab("0123abcd", "/srv/app", "10.211.7.8/30", 2201, 30022, 32166, 5432, 5001, 5002, 5003)


def test_the_default_lab_has_none_of_them() -> None:
    assert set() == ALL & ON_REQUEST
    value = site(LAB, ALL, "sha256:00")
    assert set(value["registries"]) == {"coulombcore"}
    assert {"builders", "dockers"} & set(value) == set()


def test_hub_is_two_registries_with_their_realms_and_no_password() -> None:
    found = site(LAB, frozenset({"hub"}))["registries"]
    assert {name: (entry["address"], entry["realm"]) for name, entry in found.items()} == {
        "ghcr": ("10.211.7.9:5001", "follow"),
        "hub": ("10.211.7.9:5002", "http://10.211.7.9:5003/token"),
    }
    assert {entry["password"] for entry in found.values()} == {"file:/var/lib/pipeline-lab/0123abcd/hub-lab-password"}
    assert hub.realm(LAB, "ghcr") == "http://10.211.7.9:5001/token", "GHCR gives its tokens itself"


def test_docker_is_a_builder_a_docker_and_the_program_to_build_with() -> None:
    value = site(LAB, frozenset({"docker"}))
    assert value["tools"]["buildx"] == "/var/lib/pipeline-lab/0123abcd/bin/buildx"
    assert value["builders"]["lab"]["address"] == f"unix://{engine.buildkit_socket(LAB)}"
    assert value["dockers"]["railiance01"] == {"address": f"unix://{engine.docker_socket(LAB)}", "host": "10.211.7.10"}
    assert len(str(engine.docker_socket(LAB))) < 107, "the paths of unix sockets end there"


def test_every_part_says_what_it_is_built_of() -> None:
    assert set(PROGRAMS) == ALL | ON_REQUEST
    assert {part for part, names in PROGRAMS.items() if names} == set(BUILT_FIRST)


def test_flux_runs_beside_the_cluster_on_ports_of_its_own_and_hands_out_what_it_fetched() -> None:
    found = {service.name: service for service in flux.services(LAB, machines(LAB)[2])}
    assert set(found) == set(flux.HEALTH)
    assert len({*flux.HEALTH.values(), flux.ARTIFACTS, dns.HEALTH, layout.NODE_SSH, layout.API, layout.INGRESS, layout.INGRESS_PING}) == 10
    for service in found.values():
        assert "--enable-leader-election=false" in service.argv
        assert service.env["RUNTIME_NAMESPACE"] == "flux-system"
        assert service.env["KUBECONFIG"] == "/var/lib/pipeline-lab/0123abcd/pki/admin.kubeconfig"
    assert "--storage-adv-addr=10.211.7.10:9790" in found["source-controller"].argv
    assert flux.crds(LAB) == Path("/var/lib/pipeline-lab/0123abcd/flux/crds")


def test_pods_ask_the_node_for_names_whether_somebody_answers_or_not() -> None:
    settings = yaml.safe_load(node.KUBELET.format(home="/h", state="/s", address=LAB.address))
    assert (settings["clusterDNS"], settings["clusterDomain"]) == (["10.211.7.10"], "cluster.local")
    assert "cluster.local" in dns.CONFIG.format(address=LAB.address, health=dns.HEALTH, state=LAB.state)


def test_a_gitops_repository_lies_beside_its_applications_own() -> None:
    remotes = site(LAB, frozenset({"registry"}))["remotes"]
    assert remotes["gitops"] == {**remotes["coulombcore"], "url": "ssh://git@10.211.7.9:30022/coulomb/{app}-gitops.git"}


def test_a_folder_of_programs_is_put_beside_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "HOME", tmp_path / "labs")
    (LAB.state / "bin").mkdir(parents=True)
    (tmp_path / "flux").mkdir()
    for name in ("helm-controller", "source-controller"):
        (tmp_path / "flux" / name).write_text(name)
    start.install(LAB, tmp_path / "flux", "flux")
    assert Path(LAB.bin("helm-controller")).samefile(tmp_path / "flux" / "helm-controller")
    assert not Path(LAB.bin("flux")).exists()


def test_a_lab_from_before_these_parts_is_still_read(tmp_path: Path) -> None:
    old = {"id": "ab", "root": "/srv", "network": "10.211.7.8/30", "ssh": 1, "git": 2, "registry": 3, "database": 4}
    (tmp_path / "lab.json").write_text(json.dumps(old))
    found = layout.read(tmp_path)
    assert found is not None
    assert found.hub == layout.PREFERRED["hub"]


def test_up_takes_parts_as_words() -> None:
    from contextlib import nullcontext

    tasks = collection(lambda body: body, print, lambda: nullcontext(print), Path)
    assert "with" in {name for argument in tasks["up"].get_arguments() for name in argument.names}


def test_the_base_images_layer_is_the_same_for_everybody(tmp_path: Path) -> None:
    (tmp_path / "usr/share/doc/x").mkdir(parents=True)
    (tmp_path / "usr/share/base-passwd").mkdir(parents=True)
    (tmp_path / "etc").mkdir()
    for name in ("passwd", "group"):
        (tmp_path / f"usr/share/base-passwd/{name}.master").write_text("root:*:0:0\n")
    base._furnish(tmp_path)
    first, second = base._layer(tmp_path), base._layer(tmp_path)
    assert first == second
    with tarfile.open(fileobj=BytesIO(first[0]), mode="r:gz") as archive:
        names = {member.name: member for member in archive}
    assert "usr/share/doc" not in names
    assert names["usr/bin/sh"].linkname == "dash"
    assert names["tmp"].mode & 0o1777 == 0o1777
    assert {member.mtime for member in names.values()} == {0}
    assert names["etc/passwd"].uname == ""
