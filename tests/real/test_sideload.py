"""An image that the node cannot pull is carried there under its own digest, where the blueprint says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.real.app import App, application

pytestmark = pytest.mark.real

# The node's crictl, but for pulls: those fail as they do where the registry's realm does not answer.
NO_PULL = """for word; do
  if test "$word" = pull; then
    echo 'failed to pull and unpack image: failed to authorize:' \\
      'failed to fetch anonymous token: Get "http://gitea.coulomb.social/v2/token?service=container_registry":' \\
      'dial tcp: lookup gitea.coulomb.social on 192.0.2.53:53: no such host' >&2
    exit 1
  fi
done
exec "$@"
"""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, lab_site_file: Path) -> Iterator[App]:
    with application("carried", tmp_path_factory.mktemp("carried")) as made:
        link = made.root / ".pipeline/lab/site.yml"
        site = yaml.safe_load(link.read_text())
        cluster = site["clusters"]["railiance01"]
        cluster["crictl"] = ["sh", "-c", NO_PULL, "crictl", *cluster["crictl"]]
        link.unlink()
        link.write_text(yaml.safe_dump(site))
        yield made


def test_without_the_fallback_it_is_refused_with_the_mend(app: App) -> None:
    refused = app.inv("release")
    assert refused.returncode == 2
    assert "gitea.coulomb.social" in refused.stderr
    assert "hosts" in refused.stderr
    assert json.loads(app.helm("list", "--filter", f"^{app.name}$", "--output", "json")) == []


def test_declared_it_is_carried_and_serves_by_the_pushed_digest(app: App) -> None:
    overlay = app.root / "config" / f"{app.name}.lab.yml"
    overlay.write_text(overlay.read_text().replace("  deploy:\n", "  deploy:\n    pull: side-load\n", 1))
    commit = app.commit("Side-load where a pull fails")
    released = app.inv("release")
    assert released.returncode == 0, released.stderr
    assert "side-loading it" in released.stderr
    assert commit in released.stdout
    digest = next(line.split()[1] for line in released.stdout.splitlines() if line.startswith("digest"))
    pods = json.loads(app.kubectl("get", "pods", "--selector", f"app.kubernetes.io/instance={app.name}", "--output", "json"))
    assert {status["imageID"].partition("@")[2] for pod in pods["items"] for status in pod["status"]["containerStatuses"]} == {digest}
    assert not list((app.root / ".pipeline/side-load").iterdir())
    assert not list((Path(app.site["hosts"]["railiance01"]["state"]) / "side-load").iterdir())
