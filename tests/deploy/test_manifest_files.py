"""The files of a release: what counts, what is refused, and that an import never leads past the hash or to the network."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.deploy.manifest_files import read
from pipeline.deploy.manifest_spec import Kubecfg, Kubectl
from pipeline.errors import ConfigError

YAML = Kubectl("lab", "shop", "web")
JSONNET = Kubecfg("lab", "shop", "web", libraries=("lib",))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in {
        "manifests/web.jsonnet": "(import 'settings.libsonnet') + (import 'shared.libsonnet') + (import 'kubecfg.libsonnet')",
        "manifests/settings.libsonnet": "importstr '../manifests/motd.txt'",
        "manifests/motd.txt": "hello",
        "manifests/web.yaml": "a: 1\n",
        "manifests/more.yml": "b: 1\n",
        "manifests/.hidden.yaml": "c: 1\n",
        "lib/shared.libsonnet": "{}",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_each_driver_takes_its_own_kind_of_file(root: Path) -> None:
    assert read(root, YAML).entries == ("manifests/more.yml", "manifests/web.yaml")
    found = read(root, JSONNET)
    assert found.entries == ("manifests/web.jsonnet",)
    assert {name for name, _ in found.content} >= {"lib/shared.libsonnet", "manifests/motd.txt", "manifests/settings.libsonnet"}
    assert read(root, Kubectl("lab", "shop", "web", "manifests/web.yaml")).entries == ("manifests/web.yaml",)


def test_what_is_imported_counts_and_what_is_not_the_drivers_does_not(root: Path) -> None:
    yaml, jsonnet = read(root, YAML).digest, read(root, JSONNET).digest
    (root / "lib/shared.libsonnet").write_text("{ a: 1 }")
    assert read(root, YAML).digest == yaml
    changed = read(root, JSONNET).digest
    assert changed != jsonnet
    (root / "manifests/motd.txt").write_text("bye")
    assert read(root, JSONNET).digest != changed
    (root / "manifests/web.yaml").rename(root / "manifests/other.yaml")
    assert read(root, YAML).digest != yaml


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("https://example.org/k.libsonnet", "https://example.org/k.libsonnet is imported from outside"),
        ("oci://example.org/k", "is imported from outside"),
        ("file:///etc/passwd", "is imported from outside"),
        ("binary://x.tgz", "is imported from outside"),
        ("/etc/passwd", "there is no /etc/passwd among"),
        ("../../outside.libsonnet", r"there is no \.\./\.\./outside\.libsonnet among"),
        ("nowhere.libsonnet", "there is no nowhere.libsonnet among"),
    ],
)
def test_n01_an_import_that_leads_elsewhere_is_refused_with_its_line(root: Path, path: str, said: str) -> None:
    (root / "manifests/settings.libsonnet").write_text(f"{{\n  a: import '{path}',\n}}")
    with pytest.raises(ConfigError, match=said) as caught:
        read(root, JSONNET)
    assert caught.value.what.startswith("manifests/settings.libsonnet:2: ")


def test_what_is_not_there_or_leads_out_is_refused(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(ConfigError, match="there is nothing at elsewhere"):
        read(root, Kubectl("lab", "shop", "web", "elsewhere"))
    (root / "empty").mkdir()
    with pytest.raises(ConfigError, match="empty holds no manifests"):
        read(root, Kubectl("lab", "shop", "web", "empty"))
    outside = tmp_path_factory.mktemp("outside")
    (outside / "web.yaml").write_text("a: 1\n")
    (root / "out").symlink_to(outside)
    with pytest.raises(ConfigError, match="leads out of the working copy"):
        read(root, Kubectl("lab", "shop", "web", "out"))
    (root / "manifests/linked.yaml").symlink_to(root / "manifests/web.yaml")
    with pytest.raises(ConfigError, match=r"manifests/linked\.yaml is a symbolic link"):
        read(root, YAML)


def test_i01_paths_and_names_are_checked_where_they_are_written() -> None:
    for wrong in ("/etc", "../x", "-x", "a/../../b", ""):
        with pytest.raises(ValueError, match="inside the working copy"):
            Kubectl("lab", "shop", "web", wrong)
        with pytest.raises(ValueError, match="inside the working copy"):
            Kubecfg("lab", "shop", "web", libraries=(wrong,))
    for name in ("-x", "a b", "a=b", ""):
        with pytest.raises(ValueError, match="is not a name"):
            Kubecfg("lab", "shop", "web", values={name: "x"})
    with pytest.raises(ValueError, match="external: '-x' is not a name"):
        Kubecfg("lab", "shop", "web", external={"-x": 1})
