"""`inv tunnel.plan` and `inv tunnel.apply`, as a person calls them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import warm
from tests.tunnel.cloudflare import ACCOUNT, TOKEN, TUNNEL, ZONE, Cloudflare, serving

ROOT = Path(__file__).parents[2]


@pytest.fixture
def service() -> Iterator[Cloudflare]:
    with serving(Cloudflare()) as made:
        yield made


@pytest.fixture
def root(service: Cloudflare, tmp_path: Path) -> Path:
    (tmp_path / "tasks.py").write_text('from pipeline import collection\nns = collection("config")\n')
    config = tmp_path / "config"
    config.mkdir()
    route = {"hostname": "staging.token.place", "service": "http://traefik", "tunnel": TUNNEL, "account": ACCOUNT, "zone": ZONE}
    build = {"driver": "tagged", "registry": "ghcr", "repository": "owner/relay"}
    (config / "app.yml").write_text(json.dumps({"app": "app", "stages": {"build": build}, "tunnel": {**route, "api": service.api}}))
    (config / "app.bare.yml").write_text("tunnel: null\n")
    (config / "app.unfilled.yml").write_text(f"tunnel: {{zone: '{'0' * 32}'}}\n")
    (config / "site.yml").write_text("registries: {ghcr: {address: ghcr.io}}\n")
    return tmp_path


def inv(root: Path, *words: str, token: str = "") -> subprocess.CompletedProcess[str]:
    env = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", **({"CLOUDFLARE_API_TOKEN": token} if token else {})}
    return warm.inv(words, root, env, 60)


def test_plan_without_a_token_shows_the_calls_and_asks_nobody(root: Path, service: Cloudflare) -> None:
    done = inv(root, "tunnel.plan")
    assert done.returncode == 0, done.stderr
    assert f"PUT /accounts/{ACCOUNT}/cfd_tunnel/{TUNNEL}/configurations" in done.stdout
    assert f"POST /zones/{ZONE}/dns_records" in done.stdout
    assert f"credentials-file: /etc/cloudflared/{TUNNEL}.json" in done.stdout
    assert "was not asked" in done.stderr
    assert service.asked == []


def test_plan_and_apply_with_a_token(root: Path, service: Cloudflare) -> None:
    planned = inv(root, "tunnel.plan", "--json", token=TOKEN)
    rows = json.loads(planned.stdout)
    assert rows["asked"] is True
    assert [row["method"] for row in rows["changes"]] == ["PUT", "POST"]
    assert service.written == []
    made = inv(root, "tunnel.apply", token=TOKEN)
    assert (made.returncode, made.stdout) == (0, "staging.token.place leads to http://traefik\n")
    assert "new name" in made.stderr
    assert inv(root, "tunnel.plan", token=TOKEN).stdout == "staging.token.place leads to http://traefik: nothing to do\n"
    assert TOKEN not in planned.stdout + planned.stderr + made.stdout + made.stderr


def test_apply_without_a_token_is_told(root: Path) -> None:
    done = inv(root, "tunnel.apply")
    assert done.returncode == 11
    assert "CLOUDFLARE_API_TOKEN is not set" in done.stderr


@pytest.mark.parametrize("token", [TOKEN, ""])
@pytest.mark.parametrize("verb", ["tunnel.plan", "tunnel.apply"])
def test_ids_that_are_not_filled_in_are_told_before_anybody_is_asked(root: Path, service: Cloudflare, verb: str, token: str) -> None:
    done = inv(root, verb, "--env", "unfilled", token=token)
    assert (done.returncode, done.stdout) == (2, "")
    assert "zone of the route is not filled in" in done.stderr
    assert service.asked == []


def test_a_blueprint_without_a_route_is_told(root: Path) -> None:
    done = inv(root, "tunnel.plan", "--env", "bare")
    assert done.returncode == 2
    assert "has no route through a tunnel" in done.stderr
