"""Infrastructure for real: OpenTofu, a provider in Go with rackerlabs/spot's schema, and what goes wrong with them."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from pipeline.artifacts import Infra
from pipeline.errors import AuthError, ConfigError, IntegrityError, Locked, NotRolledBack, Transient
from pipeline.plan import read_site
from pipeline.provision import apply, begun, terraform
from pipeline.provision.process import leads, marked
from pipeline.provision.root import Root
from pipeline.records import actor
from pipeline.retry import Policy
from pipeline.tools import kube
from tests.real import terraform_parts as parts
from tests.real.terraform_parts import TOKEN, Cloud

pytestmark = pytest.mark.real
SPACE, POOL = "spot_cloudspace.relay", "spot_spotnodepool.relay"
ONCE = Policy(attempts=1)


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    return parts.make(tmp_path, monkeypatch)


@pytest.fixture
def root(cloud: Cloud) -> Iterator[Root]:
    with cloud.site() as site:
        yield cloud.at(site)


def made(root: Root) -> Infra:
    terraform.plan(root, policy=ONCE)
    return apply.apply(root)


def until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.02)


def by_hand(root: Root, *words: str) -> subprocess.CompletedProcess[str]:
    """Somebody else's OpenTofu, on the same state."""
    env = {**os.environ, "TF_DATA_DIR": str(root.data), "RXTSPOT_TOKEN_FILE": str(root.site.root / "rackspace_token")}
    return subprocess.run([root.program, *words], cwd=root.folder, env=env, capture_output=True, text=True, check=False)


def tool_of(cloud: Cloud) -> int:
    """The process of the apply that is at work."""
    note = json.loads((cloud.home / "begun.json").read_text())
    return next(pid for pid in marked(note["run"]) if leads(pid))


def test_from_nothing_to_a_cluster_and_back(cloud: Cloud) -> None:
    planned = cloud.inv("infra.plan")
    assert planned.returncode == 0, planned.stderr
    assert "+   create   spot_cloudspace.relay" in planned.stdout
    assert 'region "us-central-dfw-1"' in planned.stdout
    assert 'server_class "gp.vs1.small-dfw"' in planned.stdout
    assert "desired_server_count 1" in planned.stdout
    assert planned.stdout.endswith("plan     2 to create, 1 to read of relay.lab: inv infra.apply does exactly this\n")
    assert cloud.world["cloudspaces"] == {}

    applied = cloud.inv("infra.apply", "--json")
    assert applied.returncode == 0, applied.stderr
    assert json.loads(applied.stdout)["infra"]["resources"] == 2
    assert [json.loads(line)["what"] for line in applied.stderr.splitlines()][-2:] == ["made", "done"]
    assert set(cloud.world["nodepools"]) == {"relay-lab-gp.vs1.small-dfw"}

    again = cloud.inv("infra.plan", "infra.apply")
    assert again.returncode == 0, again.stderr
    assert "nothing to do: relay.lab is as it is written" in again.stdout
    assert cloud.calls.count("create spot_cloudspace") == 1

    shown = cloud.inv("infra.output")
    assert "kubeconfig          [sensitive]" in shown.stdout
    assert "servers_won         1" in shown.stdout
    assert "apiVersion" not in shown.stdout + shown.stderr
    assert cloud.inv("infra.output", "--name", "kubeconfig").stdout == (cloud.folder / "kubeconfig").read_text()
    assert json.loads(cloud.inv("infra.output", "--json").stdout)["outputs"]["kubeconfig"] == {"sensitive": True, "value": None}

    for words in ([], ["--yes", "relay"], ["--yes", "relay.production"]):
        refused = cloud.inv("infra.destroy", *words)
        assert (refused.returncode, "inv infra.destroy --yes relay.lab" in refused.stderr) == (2, True)
    assert set(cloud.world["cloudspaces"]) == {"relay-lab"}
    gone = cloud.inv("infra.destroy", "--yes", "relay.lab")
    assert gone.returncode == 0, gone.stderr
    assert cloud.world == {"cloudspaces": {}, "nodepools": {}}
    assert cloud.inv("infra.output").returncode == 2


def test_what_drifted_is_shown_and_mended(cloud: Cloud, root: Root) -> None:
    made(root)
    cloud.change(nodepools={"relay-lab-gp.vs1.small-dfw": {"servers": 4, "bid": "0.01"}})
    planned, reviewed = terraform.plan(root)
    assert [(each.address, each.action) for each in planned.drift] == [(POOL, "update")]
    assert planned.drift[0].fields == ("desired_server_count 1 -> 4",)
    assert reviewed.changes == ((POOL, "update"),)
    apply.apply(root)
    assert cloud.world["nodepools"]["relay-lab-gp.vs1.small-dfw"]["servers"] == 1
    assert terraform.plan(root)[1].nothing


def test_what_was_deleted_elsewhere_is_made_again(cloud: Cloud, root: Root) -> None:
    made(root)
    cloud.change(nodepools={})
    planned, reviewed = terraform.plan(root)
    assert [(each.address, each.action) for each in planned.drift] == [(POOL, "delete")]
    assert reviewed.changes == ((POOL, "create"),)


def test_t01_a_state_that_somebody_else_has_locked_says_who_and_since_when(cloud: Cloud, root: Root) -> None:
    terraform.plan(root)
    cloud.fails(create_spot_cloudspace="hang")
    env = {**os.environ, "TF_DATA_DIR": str(root.data), "RXTSPOT_TOKEN_FILE": str(cloud.root / "rackspace_token")}
    argv = [root.program, "apply", "-input=false", "-auto-approve"]
    other = subprocess.Popen(argv, cwd=root.folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        until(lambda: "create spot_cloudspace" in cloud.calls)
        for words in (["infra.plan"], ["infra.apply"], ["infra.destroy", "--yes", "relay.lab"]):
            refused = cloud.inv(*words)
            if words == ["infra.apply"]:
                assert refused.returncode == 2  # infra.plan had taken the old plan away
                continue
            assert refused.returncode == 13
            assert f"the state is locked: {actor()} has been at apply since 2" in refused.stderr
            assert "force-unlock" in refused.stderr
        assert other.poll() is None
    finally:
        os.killpg(other.pid, signal.SIGKILL)
        other.wait()
    cloud.fails()
    assert terraform.plan(root)[1].changes == ((SPACE, "create"), (POOL, "create"))


def test_t03_a_plan_older_than_the_state_is_refused(cloud: Cloud, root: Root) -> None:
    terraform.plan(root)
    other = by_hand(root, "apply", "-input=false", "-auto-approve", "-no-color", "-var=cloudspace_name=by-hand")
    assert other.returncode == 0, other.stderr
    with pytest.raises(ConfigError, match="older than the state"):
        apply.apply(root)
    assert set(cloud.world["cloudspaces"]) == {"by-hand"}
    with pytest.raises(ConfigError, match="no plan that was reviewed"):
        apply.apply(root)


@pytest.mark.parametrize("changed", ["main.tf", "terraform.tfvars", "blueprint"])
def test_t03_a_plan_of_another_configuration_is_refused(cloud: Cloud, root: Root, changed: str) -> None:
    terraform.plan(root)
    if changed == "blueprint":
        root = dataclasses.replace(root, spec=dataclasses.replace(root.spec, variables={"cloudspace_name": "other"}))
    else:
        path = cloud.module / changed
        path.write_text((path.read_text() if path.exists() else "") + "\n# another\n")
    with pytest.raises(ConfigError, match="configuration has changed since the plan"):
        apply.apply(root)
    assert cloud.world["cloudspaces"] == {}


def test_a_plan_that_was_exchanged_is_refused(cloud: Cloud, root: Root) -> None:
    terraform.plan(root)
    root.plan_file.write_bytes(root.plan_file.read_bytes() + b"!")
    with pytest.raises(IntegrityError, match="not the one that was reviewed"):
        apply.apply(root)


def test_a_plan_to_destroy_is_not_applied_by_mistake(cloud: Cloud, root: Root) -> None:
    made(root)
    terraform.plan(root, destroy=True)
    with pytest.raises(ConfigError, match="the plan that waits destroys"):
        apply.apply(root)
    assert set(cloud.world["cloudspaces"]) == {"relay-lab"}


def test_a_protected_environment_is_destroyed_by_its_name_alone(cloud: Cloud) -> None:
    (cloud.root / "config" / "relay.lab.yml").write_text("protected: true\n")
    refused = cloud.inv("infra.destroy", "--env", "lab")
    assert (refused.returncode, "which is protected" in refused.stderr) == (2, True)
    assert cloud.inv("infra.destroy", "--env", "lab", "--yes", "relay.lab").returncode == 0


def test_t04_a_provider_that_fails_is_asked_again_for_a_plan_only(cloud: Cloud, root: Root) -> None:
    cloud.fails(configure_provider="503")
    with pytest.raises(Transient, match="the provider, or the way to it, failed") as caught:
        terraform.plan(root, policy=Policy(attempts=3, base=0.01))
    assert caught.value.attempts == 3
    assert "503" in caught.value.cause
    assert cloud.calls == ["configure provider"] * 3
    cloud.fails(create_spot_spotnodepool="503")
    with pytest.raises(NotRolledBack) as failed:
        made(root)
    assert failed.value.what == "the apply stopped half-way, 1 of 2 done: the provider, or the way to it, failed"
    assert f"made: {SPACE}\nfailed: {POOL}" in failed.value.cause
    assert f"may have made {POOL} all the same" in failed.value.mend
    assert Path(failed.value.log).stat().st_mode & 0o777 == 0o600
    assert cloud.calls.count("create spot_spotnodepool") == 1
    with pytest.raises(ConfigError, match="no plan that was reviewed"):
        apply.apply(root)
    cloud.fails()
    assert terraform.plan(root)[1].changes == ((POOL, "create"),)
    assert apply.apply(root).resources == 2
    assert [record.state for record in root.site.records.history()] == ["made", "failed"]


def test_a_provider_that_crashes_in_mid_apply(cloud: Cloud, root: Root) -> None:
    cloud.fails(create_spot_spotnodepool="crash")
    with pytest.raises(NotRolledBack, match="1 of 2 done: the provider crashed") as caught:
        made(root)
    assert f"made: {SPACE}" in caught.value.cause
    assert "goroutine" not in caught.value.cause + cloud.said()


def test_where_nothing_was_begun_the_error_is_what_it_is(cloud: Cloud, root: Root) -> None:
    terraform.plan(root)
    cloud.fails(configure_provider="401")
    with pytest.raises(AuthError, match="credentials are missing or refused"):
        apply.apply(root)
    cloud.fails()
    assert made(root).resources == 2


@pytest.mark.parametrize("victim", ["tool", "both"])
def test_kill_9_in_mid_apply_is_explained_by_the_next_plan(cloud: Cloud, root: Root, victim: str) -> None:
    terraform.plan(root)
    cloud.fails(create_spot_spotnodepool="late-hang")  # it is there, and nobody hears of it
    process = cloud.start("infra.apply")
    until(lambda: len(cloud.world["nodepools"]) == 1)
    tool = tool_of(cloud)
    if victim == "both":
        process.kill()
    os.kill(tool, signal.SIGKILL)
    _, told = process.communicate(timeout=30)
    if victim == "tool":
        assert process.returncode == 17
        assert f"begun, and its end is not known: {POOL}" in told
    cloud.fails()
    explained = cloud.inv("infra.plan")
    assert explained.returncode == 0, explained.stderr
    before = [line for line in explained.stdout.splitlines() if line.startswith("before")]
    assert "was killed" in before[0]
    # OpenTofu writes its state every 20 s: what was made in between is known from its log alone. Terraform writes a local one at once.
    at_once = Path(root.program).name == "terraform"
    unsure = POOL if at_once else f"{SPACE}, {POOL}"
    made_told = f"before   made: {SPACE}" if at_once else f"before   made, and the state does not know it: {SPACE}"
    assert before[1:3] == [made_told, f"before   begun, and its end is not known: {POOL}"]
    assert f"look at the provider for {unsure}: " in before[3]
    assert f"{1 if at_once else 2} to create, 1 to read of relay.lab" in explained.stdout
    refused = cloud.inv("infra.apply")
    assert refused.returncode == 2
    assert f"may have made {unsure} already" in refused.stderr
    assert cloud.calls.count("create spot_cloudspace") == 1
    cloud.change(nodepools={}, **({} if at_once else {"cloudspaces": {}}))  # somebody looked, and deleted them
    note = json.loads((cloud.home / "begun.json").read_text())
    assert marked(note["run"]) == []  # no provider is left behind
    assert root.site.records.unfinished() == []
    assert apply.apply(root, again=True).resources == 2
    assert not (cloud.home / "begun.json").exists()


def test_killed_alone_we_leave_the_apply_at_work(cloud: Cloud, root: Root) -> None:
    terraform.plan(root)
    cloud.fails(create_spot_cloudspace="slow")
    process = cloud.start("infra.apply")
    until(lambda: "create spot_cloudspace" in cloud.calls)
    tool = tool_of(cloud)
    process.kill()
    process.communicate()
    with pytest.raises(Locked, match="apply of this working copy has been at work since") as caught:
        apply.explain(root)
    assert str(tool) in caught.value.cause
    until(lambda: not Path(f"/proc/{tool}").exists())
    told = apply.explain(root)
    assert told.lines[1:] == (f"made: {SPACE}, {POOL}",)
    assert terraform.plan(root)[1].nothing


def test_ctrl_c_lets_the_tool_write_its_state(cloud: Cloud, root: Root) -> None:
    terraform.plan(root)
    cloud.fails(create_spot_spotnodepool="hang")
    process = cloud.start("infra.apply")
    until(lambda: "create spot_spotnodepool" in cloud.calls)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130, told
    assert f"made: {SPACE}" in told
    assert f"failed: {POOL}" in told
    cloud.fails()
    assert terraform.plan(root)[1].changes == ((POOL, "create"),)


def test_an_apply_that_hangs_ends_at_its_deadline(cloud: Cloud, root: Root) -> None:
    terraform.plan(root)
    cloud.fails(create_spot_cloudspace="hang")
    short = dataclasses.replace(root, spec=dataclasses.replace(root.spec))
    object.__setattr__(short.spec, "deadline", 2)
    with pytest.raises(NotRolledBack, match="was not done after 2 s"):
        apply.apply(short)
    assert begun.read(root, "apply") is None


@pytest.mark.parametrize(
    ("text", "mode", "code", "says"),
    [
        ("wrong-token\n", 0o600, 11, "credentials are missing or refused"),
        (None, 0o600, 11, "rackspace_token cannot be read"),
        (TOKEN, 0o644, 2, "can be read by others"),
        ("", 0o600, 11, "is empty"),
    ],
    ids=["wrong", "missing", "open", "empty"],
)
def test_a_token_that_is_no_good(cloud: Cloud, text: str | None, mode: int, code: int, says: str) -> None:
    path = cloud.root / "rackspace_token"
    path.unlink()
    if text is not None:
        path.write_text(text)
        path.chmod(mode)
    refused = cloud.inv("infra.plan")
    assert (refused.returncode, says in refused.stderr) == (code, True), refused.stderr
    assert cloud.world["cloudspaces"] == {}


@pytest.mark.parametrize("way", ["tfvars", "RXTSPOT_TOKEN", "RXTSPOT_TOKEN_FILE"])
def test_other_ways_to_give_the_token(cloud: Cloud, way: str, tmp_path: Path) -> None:
    path = cloud.root / "rackspace_token"
    env = {}
    if way == "tfvars":
        (cloud.module / "terraform.tfvars").write_text(f'rackspace_spot_token = "{TOKEN}"\n')
    elif way == "RXTSPOT_TOKEN":
        env[way] = TOKEN
    else:
        path.rename(tmp_path / "elsewhere")
        env[way] = str(tmp_path / "elsewhere")
    path.unlink(missing_ok=True)
    planned = cloud.inv("infra.plan", env=env)
    assert planned.returncode == 0, planned.stderr
    assert TOKEN not in planned.stdout + planned.stderr


@pytest.mark.parametrize("way", ["rackspace_token", "tfvars", "RXTSPOT_TOKEN", ""])
def test_the_plans_own_commands_find_the_token(cloud: Cloud, way: str) -> None:
    """cd terraform/rackspace-spot && terraform init && terraform plan, as the plan writes it."""
    if way != "rackspace_token":
        (cloud.root / "rackspace_token").unlink()
    if way == "tfvars":
        (cloud.module / "terraform.tfvars").write_text(f'rackspace_spot_token = "{TOKEN}"\n')
    env = {**os.environ, **({way: TOKEN} if way.startswith("RXTSPOT") else {})}
    with cloud.site() as site:
        program = cloud.at(site).program

    def tofu(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([program, *words, "-input=false"], cwd=cloud.module, env=env, capture_output=True, text=True, check=False)

    assert tofu("init").returncode == 0
    planned = tofu("plan", "-out=made.tfplan")
    assert (planned.returncode == 0) is bool(way), planned.stderr
    assert TOKEN not in planned.stdout + planned.stderr
    if way == "rackspace_token":
        assert "2 to add" in planned.stdout
        assert TOKEN.encode() not in _unzipped(cloud.module / "made.tfplan")
        assert tofu("apply", "-auto-approve").returncode == 0
        assert TOKEN not in (cloud.module / "terraform.tfstate").read_text()


def test_the_token_is_in_no_plan_no_state_no_log_and_no_argv(cloud: Cloud, tmp_path: Path) -> None:
    seen: set[bytes] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.005):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with_token = b""
                try:
                    with_token = path.read_bytes()
                except OSError:
                    continue
                if TOKEN.encode() in with_token:
                    seen.add(with_token)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        planned = cloud.inv("infra.plan")
        plan = _unzipped(cloud.home / "reviewed.tfplan")
        results = [planned, cloud.inv("infra.apply"), cloud.inv("infra.plan"), cloud.inv("infra.output"), cloud.inv("status")]
    finally:
        over.set()
        watcher.join()
    assert seen == set()
    assert TOKEN.encode() not in plan
    assert plan
    assert all(TOKEN not in each.stdout + each.stderr for each in results)
    holders = {
        path.relative_to(tmp_path)
        for path in tmp_path.rglob("*")
        if path.is_file() and "mirror" not in path.parts and TOKEN.encode() in path.read_bytes()
    }
    assert holders == {Path("copy/rackspace_token"), Path("cloud/token")}
    ours = [path for top in (cloud.home, tmp_path / "state") for path in top.rglob("*") if path.is_file() and "providers" not in path.parts]
    assert {stat.S_IMODE(path.stat().st_mode) for path in ours} == {0o600}
    assert stat.S_IMODE(cloud.home.stat().st_mode) == 0o700


def _unzipped(plan: Path) -> bytes:
    import zipfile

    with zipfile.ZipFile(plan) as archive:
        return b"".join(archive.read(name) for name in archive.namelist())


def test_the_cluster_that_terraform_gave_is_asked(cloud: Cloud, lab_site_file: Path, tmp_path: Path) -> None:
    known = read_site(lab_site_file).clusters["railiance01"]
    (cloud.folder / "kubeconfig").write_text(Path(known.kubeconfig).read_text())
    site_file = cloud.root / "config" / "site.yml"
    written = yaml.safe_load(site_file.read_text())
    written["clusters"]["spot"] |= {"context": known.context, "identity": known.identity}
    site_file.write_text(yaml.safe_dump(written))
    with cloud.site() as site, pytest.raises(ConfigError, match="nothing was applied yet"):
        kube.connect(site, "spot")
    with cloud.site() as site:
        made(cloud.at(site))
        before = set(cloud.root.rglob("*"))
        client = kube.connect(site, "spot")
        namespace = client.get(kube.path("v1", "namespaces", "", "kube-system"))
        assert namespace is not None
        assert namespace["metadata"]["name"] == "kube-system"
        path = Path(site.cluster("spot").kubeconfig)
        assert path.is_file()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert cloud.root not in path.parents
        assert set(cloud.root.rglob("*")) == before
    assert not path.parent.exists()
    written["clusters"]["spot"]["identity"] = "sha256:" + "0" * 64
    site_file.write_text(yaml.safe_dump(written))
    with cloud.site() as site, pytest.raises(ConfigError, match="points to another cluster"):
        kube.connect(site, "spot")
    assert list((tmp_path / "tmp").iterdir()) == []


class StateServer:
    """A state backend over HTTP that locks, as the tool's http backend wants it."""

    def __init__(self) -> None:
        import http.server

        server = self
        self.state, self.lock = b"", b""

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self, code: int, body: bytes = b"") -> None:
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def body(self) -> bytes:
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))

            def do_GET(self) -> None:
                self.answer(200 if server.state else 404, server.state)

            def do_POST(self) -> None:
                server.state = self.body()
                self.answer(200)

            def do_LOCK(self) -> None:
                asked = self.body()
                if server.lock:
                    return self.answer(423, server.lock)
                server.lock = asked
                return self.answer(200)

            def do_UNLOCK(self) -> None:
                self.body()
                server.lock = b""
                self.answer(200)

            def log_message(self, *_: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/state"


@pytest.fixture
def remote(cloud: Cloud) -> Iterator[StateServer]:
    server = StateServer()
    versions = cloud.module / "versions.tf"
    versions.write_text(versions.read_text().replace('backend "local" {}', 'backend "http" {}'))
    settings = {"address": server.url, "lock_address": server.url, "unlock_address": server.url, "retry_max": "0"}
    config = yaml.safe_load((cloud.root / "config" / "relay.yml").read_text())
    config["infra"]["backend"] = settings
    (cloud.root / "config" / "relay.yml").write_text(yaml.safe_dump(config))
    yield server
    server.http.shutdown()
    server.http.server_close()


def test_t01_the_lock_of_our_own_dead_run_is_lifted_and_nobody_elses(cloud: Cloud, remote: StateServer, tmp_path: Path) -> None:
    with cloud.site() as site:
        root = cloud.at(site)
        terraform.plan(root)
        cloud.fails(create_spot_cloudspace="hang")
        process = cloud.start("infra.apply")
        until(lambda: "create spot_cloudspace" in cloud.calls)
        tool = tool_of(cloud)
        process.kill()
        os.kill(tool, signal.SIGKILL)
        process.communicate()
        held = json.loads(remote.lock)
        cloud.fails()
        for foreign in ({"Who": "somebody@elsewhere"}, {"Created": "2020-01-01T00:00:00Z"}):
            remote.lock = json.dumps({**held, **foreign}).encode()
            with pytest.raises(Locked, match=r"the state is locked: (.* has been at apply since|by whom is not told)"):
                terraform.plan(root, policy=ONCE)
            assert remote.lock
        remote.lock = json.dumps(held).encode()
        rival = tmp_path / "tofu"
        rival.symlink_to("/bin/sleep")
        kept = (root.data / "terraform.tfstate").read_text()
        clone, elsewhere = tmp_path / "clone" / ".terraform", tmp_path / "elsewhere" / ".terraform"
        for data, text in ((clone, kept), (elsewhere, kept.replace("127.0.0.1", "127.0.0.2"))):
            data.mkdir(parents=True)
            (data / "terraform.tfstate").write_text(text)
        assert kept != text
        for folder in (root.folder, clone.parent):  # where it may be at work on this state
            with subprocess.Popen([rival, "60"], cwd=folder) as somebody:
                with pytest.raises(Locked):
                    terraform.plan(root, policy=ONCE)
                somebody.kill()
        if Path(root.program).name == "terraform":  # its http backend does not tell who holds the lock: it is never lifted
            with pytest.raises(Locked):
                terraform.plan(root, policy=ONCE)
            return
        with subprocess.Popen([rival, "60"], cwd=elsewhere.parent) as somebody:
            assert terraform.plan(root)[1].changes == ((SPACE, "create"), (POOL, "create"))
            somebody.kill()
        assert f"lock {held['ID']} is that of our own apply of" in cloud.said()
        assert remote.lock == b""
        assert apply.apply(root).resources == 2
        assert b"spot_cloudspace" in remote.state


def test_a_state_that_cannot_be_saved_is_not_lost(cloud: Cloud, remote: StateServer) -> None:
    with cloud.site() as site:
        root = cloud.at(site)
        terraform.plan(root)
        cloud.fails(create_spot_spotnodepool="slow")
        process = cloud.start("infra.apply")
        until(lambda: "create spot_spotnodepool" in cloud.calls)
        remote.http.shutdown()
        remote.http.server_close()
        _, told = process.communicate(timeout=90)
        assert process.returncode != 0
        saved = cloud.module / "errored.tfstate"
        assert stat.S_IMODE(saved.stat().st_mode) == 0o600
        assert "the apply could not save its state" in told
        assert "state push errored.tfstate" in told
        with pytest.raises(ConfigError, match="could not save its state") as caught:
            terraform.plan(root)
        assert "state push errored.tfstate" in caught.value.mend


def test_initialized_only_where_that_is_needed(cloud: Cloud, root: Root) -> None:
    terraform.plan(root)
    assert (cloud.module / ".terraform.lock.hcl").exists()
    assert "terraform/rackspace-spot/.terraform.lock.hcl was written: commit it" in cloud.said()
    cloud.events.clear()
    terraform.plan(root)
    assert "initializes" not in cloud.said()
    lock = cloud.module / ".terraform.lock.hcl"
    lock.write_text(lock.read_text().replace('"h1:', '"h1:AAAA'))
    import shutil

    shutil.rmtree(root.data)
    with pytest.raises(ConfigError, match="not the one that the lock file names"):
        terraform.plan(root)


def test_t04_a_registry_of_providers_that_does_not_answer_is_asked_again_and_leaves_nothing_half(
    cloud: Cloud, root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = tmp_path / "nowhere.rc"
    nowhere.write_text('provider_installation {\n  network_mirror {\n    url = "https://127.0.0.1:9/"\n  }\n}\n')
    with monkeypatch.context() as cut:
        cut.setenv("TF_CLI_CONFIG_FILE", str(nowhere))
        with pytest.raises(Transient, match="the provider, or the way to it, failed") as caught:
            terraform.plan(root, policy=Policy(attempts=2, base=0.01))
    assert caught.value.attempts == 2
    assert "connection refused" in caught.value.cause
    assert terraform.plan(root, policy=ONCE)[1].changes == ((SPACE, "create"), (POOL, "create"))


def test_providers_come_from_the_users_own_cache(cloud: Cloud, root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "plugins"
    cache.mkdir()
    monkeypatch.setenv("TF_PLUGIN_CACHE_DIR", str(cache))
    terraform.plan(root, policy=ONCE)
    found = cache.glob("*/rackerlabs/spot/0.1.4/*/*")
    assert [path.name for path in found] == ["terraform-provider-spot_v0.1.4"]


def test_a_secret_that_is_no_sensitive_value_is_masked_in_the_plan(cloud: Cloud, root: Root) -> None:
    (cloud.module / "main.tf").write_text(
        (cloud.module / "main.tf")
        .read_text()
        .replace("wait_until_ready ", 'preemption_webhook = "https://hook/${var.hook_secret}"\n wait_until_ready ')
    )
    (cloud.module / "hook.tf").write_text('variable "hook_secret" {}\n')
    (cloud.module / "terraform.tfvars").write_text('hook_secret = "canary-5b1f"\n')
    planned, _ = terraform.plan(root)
    assert 'preemption_webhook "https://hook/[secret]"' in planned.changes[1].fields


def test_a_configuration_that_says_nothing_of_its_state(cloud: Cloud, root: Root) -> None:
    versions = cloud.module / "versions.tf"
    versions.write_text(versions.read_text().replace('  backend "local" {}\n', ""))
    with pytest.raises(ConfigError, match="does not say that its state may lie elsewhere"):
        terraform.plan(root)


def test_a_state_made_by_hand_is_not_walked_past(cloud: Cloud, root: Root) -> None:
    (cloud.module / "terraform.tfstate").write_text("{}")
    with pytest.raises(ConfigError, match="made by hand") as caught:
        terraform.plan(root)
    assert f"mv {cloud.module / 'terraform.tfstate'} {root.state}" in caught.value.mend


def test_no_terraform_at_all(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    (cloud.root / "config" / "site.yml").write_text("tools: {terraform: /nowhere/terraform}\n")
    refused = cloud.inv("infra.plan")
    assert (refused.returncode, "/nowhere/terraform cannot be run" in refused.stderr) == (2, True)


def test_the_module_is_formatted_and_valid(cloud: Cloud, root: Root) -> None:
    terraform.plan(root)
    assert by_hand(root, "fmt", "-check", "-recursive").returncode == 0
    assert by_hand(root, "validate").returncode == 0


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("bid_price", "0.0005", "three decimals"),
        ("bid_price", "5", "at most 1"),
        ("server_count", "0", "from 1 to 10"),
        ("server_count", "1.5", "whole number"),
        ("region", "dfw", "us-central-dfw-1"),
        ("kubernetes_version", "1.28.0", "knows 1.29.6"),
        ("server_class", "small", "gp.vs1.small-dfw"),
        ("cloudspace_name", "Relay", "Lower-case"),
        ("rackspace_spot_token", "a b", "one word"),
    ],
)
def test_a_value_that_cannot_be(cloud: Cloud, root: Root, name: str, value: str, says: str) -> None:
    wrong = dataclasses.replace(root, spec=dataclasses.replace(root.spec, variables={name: value}))
    with pytest.raises(ConfigError, match="the configuration is refused") as caught:
        terraform.plan(wrong)
    assert says in caught.value.cause.replace("\n", " ")
    assert set(cloud.calls) <= {"configure provider"}
