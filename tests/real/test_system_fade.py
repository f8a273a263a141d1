"""System D on the lab, by `inv` alone: two images of one build, one commit, Flux, pods, checks; and what becomes of it on a bad day."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.host import Address
from pipeline.testing.proxy import FaultProxy
from tests.real.systems import System, system

pytestmark = pytest.mark.real
SAMPLE = "pipeline/lab/samples/fade"
CLUSTER = "clusters/test"
RELEASE = f"{CLUSTER}/fade/release.yaml"


def ssh(remote: dict[str, Any]) -> dict[str, str]:
    """The environment in which a person's git reaches the lab's git server."""
    words = f"ssh -F none -i {remote['identity_file']} -o IdentitiesOnly=yes -o UserKnownHostsFile={remote['known_hosts']}"
    return {**os.environ, "GIT_SSH_COMMAND": f"{words} -o BatchMode=yes"}


@dataclass(frozen=True)
class Fade:
    """The system; the way to its git server leads through `proxy`. `clone` is a person's working copy of the GitOps repository."""

    system: System
    proxy: FaultProxy
    clone: Path

    def git(self, *words: str) -> str:
        """git in the person's working copy, by a way that is never cut."""
        env = ssh(self.system.site["remotes"]["gitops"])
        return subprocess.run(["git", "-C", str(self.clone), *words], check=True, capture_output=True, text=True, env=env).stdout.strip()

    def commits(self) -> list[str]:
        """The branch, newest first."""
        self.git("fetch", "--quiet", "origin")
        self.git("reset", "--quiet", "--hard", "origin/main")
        return self.git("log", "--format=%H").splitlines()

    def values(self) -> dict[str, Any]:
        """What the pipeline wrote, at the head of the branch."""
        self.commits()
        found: dict[str, Any] = yaml.safe_load((self.clone / RELEASE).read_text())["spec"]["values"]
        return found

    def person(self, file: str, old: str, new: str, message: str) -> str:
        """A person's commit, pushed."""
        self.commits()
        path = self.clone / file
        text = path.read_text()
        assert old in text, f"{old!r} does not stand in {file}"
        path.write_text(text.replace(old, new))
        self.git("commit", "--quiet", "--all", "--message", message)
        self.git("push", "--quiet", "origin", "HEAD:main")
        return self.git("rev-parse", "HEAD")

    def running(self) -> set[str]:
        """The digests that the pods run."""
        listed = json.loads(self.system.kubectl("get", "pods", "--output", "json"))["items"]
        images = {each["image"] for pod in listed for each in pod["spec"]["containers"] if "deletionTimestamp" not in pod["metadata"]}
        return {image.rpartition("@")[2] for image in images}

    def wanted(self) -> set[str]:
        values = self.values()
        return {values[part]["image"]["digest"] for part in ("server", "node")}


@pytest.fixture(scope="module")
def fade(tmp_path_factory: pytest.TempPathFactory, lab_site_file: Path) -> Iterator[Fade]:
    """The system, bootstrapped, laid out and released once from its first commit. Flux by itself would look every ten minutes."""
    site = yaml.safe_load(lab_site_file.read_text())
    there = site["remotes"]["gitops"]
    host, port = there["url"].removeprefix("ssh://git@").partition("/")[0].split(":")
    with FaultProxy(Address(host, int(port)), listen=host) as proxy:
        folder = tmp_path_factory.mktemp("fade")
        known = folder / "known_hosts"
        lines = Path(there["known_hosts"]).read_text().splitlines()
        keys = [line.split(" ", 1)[1] for line in lines if line.startswith(f"[{host}]:{port} ")]
        known.write_text("".join(f"[{host}]:{proxy.address.port} {key}\n" for key in keys))

        def own(data: dict[str, Any], name: str) -> None:
            public = f"{name}.lab.test"
            for section in ("stages", "gitops"):
                data[section] = json.loads(json.dumps(data[section]).replace("fade.lab.test", public))
            stages, data["app"] = data["stages"], name
            stages["build"]["images"] = {each: {"repository": f"{name}/{each}"} for each in ("fade-server", "repram-cluster-node")}
            stages["deploy"] |= {"namespace": name, "system": f"{name}-flux", "path": CLUSTER}
            stages["verify"]["disturb"] = False  # a node is taken away by one test, not by each release
            data["gitops"]["interval"] = "10m"

        with system("fade", folder / "copy", (SAMPLE,), own) as made:

            def through(data: dict[str, Any]) -> None:
                remote = data["remotes"]["gitops"]
                remote["url"] = remote["url"].replace(f":{port}/", f":{proxy.address.port}/")
                remote["known_hosts"] = str(known)

            made.move(through)
            made.commit("Start")
            try:
                for words in ("flux.bootstrap", "flux.init", "release"):
                    done = made.inv(words)
                    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
                clone = folder / "clone"
                remote = there["url"].replace("{app}", made.name)
                subprocess.run(["git", "clone", "--quiet", remote, str(clone)], check=True, env=ssh(there))
                found = Fade(made, proxy, clone)
                for name, value in (("user.name", "Ada"), ("user.email", "ada@example.org")):
                    found.git("config", name, value)
                yield found
            finally:
                made.kubectl("delete", "namespace", f"{made.name}-flux", "--ignore-not-found", "--wait=false")


def states(fade: Fade, *words: str) -> dict[str, str]:
    return {record["stage"]: record["state"] for record in fade.system.json(*words)["records"]}


def test_a_commit_ends_as_two_images_one_commit_and_pods_that_run_both(fade: Fade) -> None:
    commit = fade.system.git("rev-parse", "HEAD")
    newest = fade.commits()[0]
    message = fade.git("log", "-1", "--format=%B", newest)
    assert f"Pipeline-Commit: {commit}" in message
    assert fade.git("show", "--format=", "--name-only", newest) == RELEASE
    assert len(fade.wanted()) == 2
    assert fade.running() == fade.wanted()
    assert fade.values()["commit"] == commit


def test_a_second_release_does_nothing(fade: Fade) -> None:
    before = fade.commits()
    found = states(fade, "release")
    assert {state for stage, state in found.items() if stage != "verify"} == {"found"}
    assert fade.commits() == before


def test_a_node_that_is_killed_takes_no_message_with_it_and_nobody_waits_for_it(fade: Fade) -> None:
    fade.system.overlay("lab", lambda data: data["stages"]["verify"].update(disturb=True))
    try:
        report = fade.system.json("verify")["records"][0]["artifact"]
    finally:
        fade.system.overlay("lab", lambda data: data["stages"]["verify"].update(disturb=False))
    found = {check["name"]: check for check in report["checks"]}
    assert all(check["passed"] for check in found.values())
    assert "6 copies" in found["replicated StatefulSet/repram-node"]["evidence"]
    assert "0 lost" in found["survives StatefulSet/repram-node"]["evidence"]


def test_a_change_is_one_commit_of_our_lines_beside_what_a_person_wrote_meanwhile(fade: Fade) -> None:
    before = fade.commits()[0]
    human = fade.person(f"{CLUSTER}/fade/values.yaml", "    ingress:", "    # said by Ada\n    ingress:", "A remark")
    fade.system.change(f"{SAMPLE}/page.html", "</title>", " </title>")
    assert fade.system.inv("release").returncode == 0
    commits = fade.commits()
    assert commits[1:3] == [human, before]
    changed = [line for line in fade.git("show", "--format=", "--unified=0", commits[0]).splitlines() if line[:1] in "+-"]
    words = {line[1:].split(":")[0].strip() for line in changed if not line.startswith(("+++", "---"))}
    assert words == {"digest", "commit", "version"}
    assert fade.running() == fade.wanted()


def test_a_broken_image_is_told_by_its_pod_and_reverted_by_a_commit(fade: Fade) -> None:
    good, before = fade.wanted(), fade.commits()
    fade.system.change(
        f"{SAMPLE}/server.py", "from __future__ import annotations\n", 'from __future__ import annotations\n\nraise SystemExit("boom")\n'
    )
    broken = fade.system.inv("release")
    assert broken.returncode != 0
    assert "boom" in broken.stderr
    commits = fade.commits()
    assert len(commits) == len(before) + 2
    assert f"This reverts commit {commits[1]}" in fade.git("log", "-1", "--format=%B")
    assert fade.wanted() == good
    assert fade.running() == good
    fade.system.git("revert", "--no-edit", "HEAD")


def test_a_git_server_that_is_down_for_a_while_is_waited_for(fade: Fade) -> None:
    before = fade.commits()
    fade.system.change(f"{SAMPLE}/page.html", " </title>", "</title>")
    fade.proxy.refuse()
    back = threading.Timer(30.0, fade.proxy.accept)
    back.start()
    try:
        done = fade.system.inv("release")
    finally:
        back.join()
    assert done.returncode == 0, done.stderr
    assert "cannot be reached; attempt 4" in done.stderr
    assert len(fade.commits()) == len(before) + 1
    assert fade.running() == fade.wanted()


def test_a_person_who_wrote_our_lines_is_not_overwritten_without_a_word(fade: Fade) -> None:
    digest = fade.values()["server"]["image"]["digest"]
    other = "sha256:" + "1" * 64
    fade.person(RELEASE, digest, other, "Try another server")
    fade.system.change(f"{SAMPLE}/page.html", "</title>", "  </title>")
    done = fade.system.inv("release")
    assert done.returncode == 0, done.stderr
    assert "Ada <ada@example.org> wrote these lines" in done.stderr
    assert other not in fade.wanted()
    assert fade.running() == fade.wanted()


def test_rollback_is_a_commit(fade: Fade) -> None:
    live, before = fade.wanted(), fade.commits()
    done = fade.system.inv("rollback")
    assert done.returncode == 0, done.stderr
    assert len(fade.commits()) == len(before) + 1
    assert fade.wanted() != live
    assert fade.running() == fade.wanted()


def test_drift_is_reported_and_put_back(fade: Fade) -> None:
    deployment = json.loads(fade.system.kubectl("get", "deployments", "--output", "json"))["items"][0]
    name, replicas = deployment["metadata"]["name"], deployment["spec"]["replicas"]
    fade.system.kubectl("scale", "deployment", name, f"--replicas={replicas + 1}")
    done = fade.system.inv("release", "--again")  # the test before has taken this commit back
    assert done.returncode == 0, done.stderr
    assert name in done.stdout + done.stderr
    until = time.monotonic() + 20
    while time.monotonic() < until:
        now = json.loads(fade.system.kubectl("get", "deployment", name, "--output", "json"))["spec"]["replicas"]
        if now == replicas:
            break
        time.sleep(0.5)
    assert now == replicas
