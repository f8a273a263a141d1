"""Images by BuildKit into a registry with tokens: once, whole sets, no secret in them, and what each thing that goes wrong leaves."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline import runner
from pipeline.artifacts import Images
from pipeline.errors import AuthError, BuildError, ConfigError, IntegrityError
from pipeline.lab import layout
from pipeline.lab.machine import machines
from pipeline.plan import Blueprint
from pipeline.retry import Policy
from pipeline.source import snapshot
from pipeline.testing.contract import check_driver
from pipeline.tools import named
from tests.real.images import BASE, Copy, client_of, copy, everything, history, platforms

pytestmark = pytest.mark.real
ROOT = Path(__file__).parents[2]
BOTH = ["linux/amd64", "linux/arm64"]


@pytest.fixture
def app(tmp_path: Path, lab_site_file: Path) -> Iterator[Copy]:
    """Two images of one file each, the first for two platforms."""
    with copy(tmp_path, lab_site_file) as made:
        for name in ("web", "worker"):
            made.write(f"{name}/Dockerfile", f"{BASE}COPY text /text\n")
            made.write(f"{name}/text", f"{name} {made.space}\n")
        made.commit()
        yield made


def run(app: Copy, blueprint: Blueprint, records: str = "records", policy: Policy | None = None) -> Images:
    with app.site(blueprint, records) as site:
        artifact = runner.run(blueprint.plan, site, policy=policy)[-1].artifact
    assert isinstance(artifact, Images)
    return artifact


def tags(app: Copy, blueprint: Blueprint, name: str, registry: str = "ghcr") -> dict[str, str]:
    """The repository's tags but those of the pipeline's own, and the image that each leads to."""
    with app.site(blueprint) as site:
        client = client_of(site, registry)
        found = [tag for tag in client.tags(f"{app.space}/{name}") if not tag.startswith("built-")]
        return {tag: named.image_of(client, f"{app.space}/{name}", client.head(f"{app.space}/{name}", tag) or "") for tag in found}


def test_what_no_commit_changed_is_one_image_of_all_of_them(app: Copy) -> None:
    """Three images: a commit to one of them gives one new digest, one to none gives none, and each commit's tags name it."""
    app.write("third/Dockerfile", f"{BASE}COPY text /text\n")
    app.write("third/text", f"third {app.space}\n")
    app.commit()
    blueprint = app.blueprint({"third": {}, "web": {"platforms": BOTH}, "worker": {}}, tags=["sha", "branch"])
    first = [image.digest for image in run(app, blueprint).images]
    app.events.clear()
    app.write("worker/text", f"other {app.space}\n")
    app.commit()
    second = [image.digest for image in run(app, blueprint).images]
    assert app.built() == ["worker"]
    assert [one == other for one, other in zip(first, second, strict=True)] == [True, True, False]
    app.events.clear()
    app.write("README.md", "more\n")
    app.commit()
    assert [image.digest for image in run(app, blueprint, "another machine's records").images] == second
    assert app.built() == []
    commit = app.git("rev-parse", "HEAD")
    with app.site(blueprint) as site:
        client = client_of(site, "ghcr")
        for name in ("third", "web", "worker"):
            digest = client.head(f"{app.space}/{name}", "main") or ""
            said = named.read(client, f"{app.space}/{name}", digest)
            assert said is not None
            assert (said.commit, said.image != digest) == (commit, True)
        assert platforms(client, f"{app.space}/web", client.head(f"{app.space}/web", "main") or "") == set(BOTH)
        assert commit.encode() not in everything(client, f"{app.space}/worker", second[2])


def test_two_images_two_platforms_made_once_and_found_ever_after(app: Copy) -> None:
    blueprint = app.blueprint({"web": {"platforms": BOTH}, "worker": {}}, tags=["sha", "branch", "raw:main-latest@main"])
    made = run(app, blueprint)
    assert app.built() == ["web", "worker"]
    short = app.git("rev-parse", "--short=7", "HEAD")
    for name, image in zip(("web", "worker"), made.images, strict=True):
        assert tags(app, blueprint, name) == dict.fromkeys(("main", "main-latest", f"sha-{short}"), image.digest)
        assert image.tag == f"sha-{short}"
    with app.site(blueprint) as site:
        client = client_of(site, "ghcr")
        assert platforms(client, f"{app.space}/web", made.images[0].digest) == set(BOTH)
    app.events.clear()
    assert run(app, blueprint).images == made.images
    assert run(app, blueprint, "another machine's records").images == made.images
    assert app.built() == [], "neither here nor where nothing is remembered"


def test_the_driver_keeps_the_promises_of_every_driver(app: Copy) -> None:
    blueprint = app.blueprint({"web": {"platforms": BOTH}, "worker": {}}, tags=["sha", "branch"])
    with app.site(blueprint) as site:
        stage = blueprint.plan[0]
        check_driver(stage.driver, stage.spec, snapshot(app.root), site, world=lambda: (tags(app, blueprint, "web"), app.built()))


def test_m01_one_that_fails_keeps_the_set_untagged_and_the_good_ones_made(app: Copy, tmp_path: Path) -> None:
    """The third of three fails and is mended: the others are not built again, and no tag ever led to half a set."""
    word = tmp_path / "word"
    word.write_text("bad\n")
    word.chmod(0o600)
    app.write(
        "third/Dockerfile", f"{BASE}RUN --mount=type=secret,id=word,required=true echo {app.space} && grep -q good /run/secrets/word\n"
    )
    app.commit()
    images = {"third": {"secrets": {"word": f"file:{word}"}}, "web": {}, "worker": {}}
    blueprint = app.blueprint(images, tags=["sha", "branch"])
    with pytest.raises(BuildError, match="third: a step of the build failed") as caught:
        run(app, blueprint)
    assert "built and kept, but not tagged: web, worker" in caught.value.cause
    assert Path(caught.value.log).read_text().count("grep")
    assert [tags(app, blueprint, name) for name in ("third", "web", "worker")] == [{}, {}, {}]
    app.events.clear()
    word.write_text("good\n")
    made = run(app, blueprint)
    assert app.built() == ["third"]
    assert len(made.images) == 3
    assert all(set(tags(app, blueprint, name)) >= {"main"} for name in images)


def test_a_secret_is_in_no_layer_no_history_and_no_event(app: Copy, tmp_path: Path) -> None:
    canary = "canary-" + os.urandom(12).hex()
    (tmp_path / "token").write_text(canary)
    (tmp_path / "token").chmod(0o600)
    step = f"echo {app.space}; wc -c </run/secrets/token >/size; cat /run/secrets/token >&2"
    app.write("web/Dockerfile", f"{BASE}RUN --mount=type=secret,id=token,required=true {step}\n")
    app.commit()
    blueprint = app.blueprint({"web": {"secrets": {"token": f"file:{tmp_path / 'token'}"}}})
    made = run(app, blueprint).images[0]
    with app.site(blueprint) as site:
        client = client_of(site, "ghcr")
        kept = everything(client, f"{app.space}/web", made.digest)
        said = history(client, f"{app.space}/web", made.digest)
    assert f"{len(canary)}\n".encode() in kept, "the step saw it"
    assert canary.encode() not in kept
    assert canary not in said
    assert canary not in "".join(event.text for event in app.events), "though the step printed it"
    logs = "".join(path.read_text() for path in (app.root / ".pipeline/logs").glob("*.log"))
    assert "[secret]" in logs
    assert canary not in logs
    left = [path for folder in ("/dev/shm", "/tmp") for path in Path(folder).glob(f"pipeline-buildx-{os.getpid()}-*")]
    assert left == []


def test_what_changed_and_is_not_committed_gets_no_tag_that_people_know(app: Copy) -> None:
    blueprint = app.blueprint({"web": {}}, tags=["sha", "branch", "raw:main-latest@main"])
    run(app, blueprint)
    before = tags(app, blueprint, "web")
    app.write("web/text", "changed\n")
    made = run(app, blueprint).images[0]
    after = tags(app, blueprint, "web")
    assert {name: digest for name, digest in after.items() if name in before} == before
    assert [name for name in after if name not in before] == [made.tag]
    assert "dirty" in made.tag


def test_a_commit_that_is_built_anew_elsewhere_is_the_same_image(app: Copy, builder: Private) -> None:
    """Times in it are always the same: another BuildKit with an empty cache gives the same digest."""
    app.write("web/Dockerfile", BASE + "COPY text /text\nRUN mkdir /made && cp /text /made/text\n")
    app.commit()
    one = run(app, app.blueprint({"web": {}})).images[0]
    app.change_site(builders={"private": {"address": builder.address}})
    other = app.blueprint({"web": {"repository": f"{app.space}/elsewhere"}}, builders=["private"])
    assert run(app, other).images[0].digest == one.digest


def test_a_wrong_password_is_refused_before_anything_is_built(app: Copy, tmp_path: Path) -> None:
    _as(app, tmp_path, "lab", "wrong")
    with pytest.raises(AuthError) as caught:
        run(app, app.blueprint({"web": {}}))
    assert caught.value.exit_code == 11
    assert app.built() == []


@pytest.mark.parametrize("registry", ["ghcr", "hub"])
def test_an_account_without_the_scope_is_told_and_nothing_is_tagged(app: Copy, tmp_path: Path, registry: str) -> None:
    """GHCR says 403, Docker Hub a 401 with insufficient_scope: both mean that the account may not write."""
    state = Path(app.lab["tools"]["buildx"]).parents[1]
    _as(app, tmp_path, "reader", (state / "hub-reader-password").read_text(), registry)
    blueprint = app.blueprint({"web": {}}, registry=registry)
    with pytest.raises(AuthError) as caught:
        run(app, blueprint)
    assert "right to write" in caught.value.mend
    assert tags(app, blueprint, "web", registry) == {}


def test_a_platform_that_no_builder_has_is_told_with_those_there_are(app: Copy) -> None:
    with pytest.raises(ConfigError, match="no builder builds linux/riscv64") as caught:
        run(app, app.blueprint({"web": {"platforms": ["linux/amd64", "linux/riscv64"]}}))
    assert "linux/arm64" in caught.value.cause
    assert app.built() == []
    with pytest.raises(ConfigError, match=r"app.yml:\d+: .*'linux-amd64' is not a platform; did you mean 'linux/amd64'"):
        app.blueprint({"web": {"platforms": ["linux-amd64"]}})


def test_a_step_for_another_architecture_says_what_is_missing(app: Copy) -> None:
    app.write("web/Dockerfile", BASE + f"RUN echo {app.space}\n")
    app.commit()
    with pytest.raises(ConfigError, match="cannot run programs of that platform") as caught:
        run(app, app.blueprint({"web": {"platforms": ["linux/arm64"]}}))
    assert "exec format error" in caught.value.cause


def test_each_platform_is_built_where_it_is_native(app: Copy, builder: Private) -> None:
    """Two BuildKits joined: each builds its own platform, and one index comes of it, under no tag but ours."""
    app.write("web/Dockerfile", "FROM scratch\nCOPY text /text\n")
    app.commit()
    lab = app.lab["builders"]["lab"]["address"]
    amd, arm = {"address": lab, "platforms": ["linux/amd64"]}, {"address": builder.address, "platforms": ["linux/arm64"]}
    app.change_site(builders={"amd": amd, "arm": arm})
    blueprint = app.blueprint({"web": {"platforms": BOTH}}, builders=["amd", "arm"], tags=["sha"])
    made = run(app, blueprint).images[0]
    with app.site(blueprint) as site:
        client = client_of(site, "ghcr")
        assert platforms(client, f"{app.space}/web", made.digest) == set(BOTH)
        assert {tag.partition("-")[0] for tag in client.tags(f"{app.space}/web")} == {"sha", "built"}
    assert list(builder.home.glob("*/content/blobs/sha256/*")), "the second one has built something"
    assert not any("emulated" in event.text for event in app.events)


def test_m02_a_builder_that_is_killed_and_comes_back_is_used_again(app: Copy, builder: Private) -> None:
    app.write("web/Dockerfile", BASE + f"RUN echo {app.space}; sleep 1.5\n")
    app.commit()
    app.change_site(builders={"private": {"address": builder.address}})
    blueprint = app.blueprint({"web": {}}, builders=["private"])

    def kill() -> None:
        deadline = time.monotonic() + 20
        while not any("RUN echo" in event.text for event in list(app.events)) and time.monotonic() < deadline:
            time.sleep(0.02)
        builder.kill()
        builder.start()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        made = run(app, blueprint, policy=Policy(base=1.0))
    finally:
        killer.join()
    assert any("the builder went away" in event.text for event in app.events)
    assert app.built() == ["web"]
    assert set(tags(app, blueprint, "web").values()) == {made.images[0].digest}


def test_a_cache_that_cannot_be_written_does_not_fail_the_build(app: Copy) -> None:
    nowhere = "type=registry,ref=127.0.0.1:9/none/cache,ignore-error=true"
    run(app, app.blueprint({"web": {}}, cache={"from": ["registry"], "to": ["registry", nowhere]}))
    with app.site(app.blueprint({"web": {}})) as site:
        assert client_of(site, "ghcr").head(f"{app.space}/web", "buildcache")


def test_a_registry_with_a_broken_realm_is_pushed_to_as_well(app: Copy) -> None:
    """BuildKit would follow the realm that the registry names, where nothing answers: it is given a token instead."""
    blueprint = app.blueprint({"web": {"repository": f"coulomb/{app.space}", "platforms": BOTH}}, registry="coulombcore")
    made = run(app, blueprint).images[0]
    with app.site(blueprint) as site:
        client, repository = client_of(site, "coulombcore"), f"coulomb/{app.space}"
        tagged = client.head(repository, made.tag)
        assert tagged
        assert named.image_of(client, repository, tagged) == made.digest


def test_a_tag_of_a_commit_that_stands_for_something_else_is_left_alone(app: Copy) -> None:
    """Other options give another image of the same commit, and the commit's tag never moves."""
    first = app.blueprint({"web": {}}, tags=["sha", "branch"])
    run(app, first)
    before = tags(app, first, "web")
    other = app.blueprint({"web": {"context": "worker"}}, tags=["sha", "branch"])
    with pytest.raises(IntegrityError, match=r"tag sha-\w+ of .* stands for another image already"):
        run(app, other)
    assert tags(app, first, "web") == before


def test_push_on_a_plan_without_a_push_stage_builds_and_prints_the_digest(app: Copy) -> None:
    app.blueprint({"web": {}})
    app.write("tasks.py", 'from pipeline import collection\n\nns = collection("config")\n')
    app.commit()
    argv = [str(Path(sys.executable).with_name("inv")), "push", "--json"]
    done = subprocess.run(
        argv, cwd=app.root, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)["records"][-1]
    assert (record["stage"], record["state"]) == ("build", "made")


def test_what_buildkit_attests_goes_along_and_is_no_platform(app: Copy) -> None:
    blueprint = app.blueprint({"web": {"platforms": BOTH}}, provenance="min")
    made = run(app, blueprint).images[0]
    with app.site(blueprint) as site:
        assert platforms(client_of(site, "ghcr"), f"{app.space}/web", made.digest) == {*BOTH, "unknown/unknown"}
    assert run(app, blueprint, "another machine's records").images[0] == made


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_stopped_leaves_nothing_but_what_the_next_one_sweeps(app: Copy, number: signal.Signals) -> None:
    app.write("web/Dockerfile", BASE + f"RUN echo {app.space}; sleep 4\n")
    app.commit()
    blueprint = app.blueprint({"web": {}})
    app.write("tasks.py", 'from pipeline import collection\n\nns = collection("config")\n')
    argv = [str(Path(sys.executable).with_name("inv")), "build"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(argv, cwd=app.root, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        seen = next((line for line in process.stderr if "RUN echo" in line), "")
        process.send_signal(number)
        process.stderr.read()
    assert seen
    left = [path for folder in ("/dev/shm", "/tmp") for path in Path(folder).glob(f"pipeline-buildx-{process.pid}-*")]
    if number == signal.SIGTERM:
        assert process.returncode == 143
        assert left == []
    assert tags(app, blueprint, "web") == {}
    assert run(app, blueprint).images
    assert [path for path in left if path.exists()] == []


class Private:
    """A buildkitd of the test's own on the lab's build host: it can be killed while nobody else builds with it."""

    def __init__(self, app: Copy, number: int) -> None:
        state = Path(app.lab["tools"]["buildx"]).parents[1]
        lab = layout.read(state)
        assert lab is not None
        self.machine, self.program = machines(lab)[0], lab.bin("buildkitd")
        self.home = state / f"private-{number}"
        self.home.mkdir(mode=0o700)
        self.address = f"unix://{self.home}/s.sock"
        text = (state / "etc" / "buildkitd.toml").read_text()
        text = text.replace(str(state / "buildkit"), str(self.home)).replace(f"{self.home}/buildkitd.sock", f"{self.home}/s.sock")
        (self.home / "buildkitd.toml").write_text(text)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        argv = self.machine.argv([self.program, "--config", f"{self.home}/buildkitd.toml"])
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, env=self.machine.lab.mark(), start_new_session=True)

    def kill(self) -> None:
        if self.process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def until(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 15
        while not ready():
            assert time.monotonic() < deadline, (self.home / "log").read_text()
            time.sleep(0.05)


@pytest.fixture
def builder(app: Copy) -> Iterator[Private]:
    made = Private(app, os.getpid())
    made.start()
    made.until((made.home / "s.sock").exists)
    yield made
    made.kill()
    shutil.rmtree(made.home, ignore_errors=True)


def _as(app: Copy, folder: Path, user: str, password: str, registry: str = "ghcr") -> None:
    (folder / "password").write_text(password)
    (folder / "password").chmod(0o600)
    account = {**app.lab["registries"][registry], "username": user, "password": f"file:{folder / 'password'}"}
    app.change_site(registries={registry: account})
