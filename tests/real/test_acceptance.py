"""What the project promises, seen from a terminal: an application of its own, released on the lab by `inv` alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pipeline.host import Address
from pipeline.testing import FaultProxy
from tests.real.app import App, application
from tests.real.workingcopy import ROOT

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, lab_site_file: Path) -> Iterator[App]:
    with application("accepted", tmp_path_factory.mktemp("accepted")) as made:
        first = made.inv("release")
        assert first.returncode == 0, first.stderr
        assert f"http://{made.name}.lab.test" in first.stdout
        assert made.git("rev-parse", "HEAD") in first.stdout
        yield made


def revisions(app: App) -> list[dict[str, str]]:
    history: list[dict[str, str]] = json.loads(app.helm("history", app.name, "--output", "json"))
    return history


def page(app: App, path: str = "/healthz") -> dict[str, str]:
    """What the release answers through Traefik, which may ask the pod that is going for a moment yet (503)."""
    ingress = app.site["clusters"]["railiance01"]["ingress"]
    argv = ["curl", "--silent", "--fail", "--retry", "5", "--retry-delay", "1", "--header", f"Host: {app.name}.lab.test", ingress + path]
    answer: dict[str, str] = json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)
    return answer


def test_an_unchanged_tree_does_nothing_and_says_why(app: App) -> None:
    before = revisions(app)
    again = app.inv("build", "push", "deploy")
    assert again.returncode == 0, again.stderr
    assert "nothing to do" in again.stderr
    assert "is live" in again.stderr
    assert revisions(app) == before
    planned = app.inv("plan").stdout.splitlines()
    assert [line.split()[:2] for line in planned[:4]] == [[verb, "there"] for verb in ("sync", "build", "push", "deploy")]
    assert app.inv("--dry", "release").stdout.splitlines() == planned


def test_a_one_line_change_goes_out_and_verify_names_its_commit(app: App) -> None:
    commit = app.change("a line")
    out = app.inv("build", "push", "deploy")
    assert out.returncode == 0, out.stderr
    live = app.inv("verify")
    assert live.returncode == 0, live.stderr
    assert commit in live.stdout
    assert page(app)["commit"] == commit


def test_the_digest_is_the_last_line_of_push(app: App) -> None:
    pushed = app.inv("push")
    assert pushed.returncode == 0, pushed.stderr
    repository, _, digest = pushed.stdout.strip().splitlines()[-1].partition("@")
    assert repository.endswith(f"/coulomb/{app.name}")
    assert digest.startswith("sha256:")


def test_a_broken_image_is_diagnosed_and_rolled_back_while_the_old_one_serves(app: App) -> None:
    good = page(app)["commit"]
    source = app.root / "pipeline/lab/probe/server.c"
    whole = source.read_text()
    source.write_text(
        whole.replace("int main(", "int former_main(", 1) + '\nint main(void) { fputs("out of cheese\\n", stderr); return 3; }\n'
    )
    app.commit("Break it")
    answers: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(0.1):
            answers.append(page(app)["commit"])

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        broken = app.inv("release")
    finally:
        stop.set()
        asking.join()
        source.write_text(whole)
    assert broken.returncode == 16, broken.stderr
    assert "out of cheese" in broken.stderr
    assert "exit 16" in broken.stderr
    assert set(answers) == {good}
    assert page(app)["commit"] == good
    mended = app.change("mended")
    assert app.inv("release").returncode == 0
    assert page(app)["commit"] == mended


def test_the_cable_is_pulled_for_a_minute_in_the_middle_of_a_build(app: App, tmp_path: Path) -> None:
    """The build goes on without us, is found again, and nothing is built twice."""
    image = app.root / "pipeline/lab/probe/default.nix"
    text = image.read_text()
    first = "configuration = image.layer \"configuration\" ''"
    image.write_text(text.replace(first, f"{first}\n    sleep 75 # {app.name}", 1))
    commit = app.commit("A slow build")
    host = app.site["hosts"]["haskelseed"]
    with FaultProxy(Address(host["address"], host["port"])) as cable:
        other = behind(app, cable.address, tmp_path)
        run = subprocess.Popen(
            [str(Path(sys.executable).with_name("inv")), "release"],
            cwd=app.root, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        told: list[str] = []
        building = threading.Event()

        def read() -> None:
            assert run.stderr is not None
            for line in run.stderr:
                told.append(line)
                if "building layer-configuration" in line:
                    building.set()

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            assert building.wait(200), "".join(told)
            cable.refuse()
            cable.freeze()
            time.sleep(60)
            cable.reset()
            cable.thaw()
            cable.accept()
            assert run.stdout is not None
            out = run.stdout.read()
            run.wait()
            reader.join()
        finally:
            run.kill()
            run.communicate()
            other.restore()
            image.write_text(text)
    story = "".join(told)
    assert run.returncode == 0, story
    assert commit in out
    assert page(app)["commit"] == commit
    assert story.count("building layer-configuration") == 1, f"the build began again: {story}"
    app.commit("A quick build again")


class behind:  # noqa: N801  # read as a preposition
    """The application's site with the build host behind `address`."""

    def __init__(self, app: App, address: Address, folder: Path) -> None:
        self.link = app.root / ".pipeline/lab/site.yml"
        self.before = self.link.readlink()
        site = yaml.safe_load(self.link.read_text())
        host = site["hosts"]["haskelseed"]
        known = folder / "known_hosts"
        lines = Path(host["known_hosts"]).read_text()
        known.write_text(lines.replace(f"[{host['address']}]:{host['port']} ", f"[{address.host}]:{address.port} "))
        host.update(address=address.host, port=address.port, known_hosts=str(known))
        self.link.unlink()
        self.link.write_text(yaml.safe_dump(site))

    def restore(self) -> None:
        self.link.unlink()
        self.link.symlink_to(self.before)
