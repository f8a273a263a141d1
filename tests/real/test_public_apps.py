"""Applications as their authors wrote them: a chart as `helm create` makes it, with other people's images beside one's own."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.real.app import App, application

pytestmark = pytest.mark.real

# The shape of what `helm create` writes: repository:tag, the tag by default the chart's appVersion, labels of its own
CHART = "apiVersion: v2\nname: stranger\nversion: 0.1.0\nappVersion: 1.16.0\n"
VALUES = "image: {repository: stranger, pullPolicy: IfNotPresent, tag: ''}\nsecret: ''\n"
TEMPLATE = """apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}}
spec:
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: {{ .Chart.Name }}
          image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
          imagePullPolicy: {{ .Values.image.pullPolicy }}
          ports: [{name: http, containerPort: 8000}]
          env: [{name: IHP_SESSION_SECRET, value: {{ .Values.secret | quote }}}]
          readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1}
        - {name: cache, image: "lab/pause:1", imagePullPolicy: Never}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: {{ .Release.Name }}-db}
spec:
  serviceName: db
  selector: {matchLabels: {app: {{ .Release.Name }}-db}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}-db}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: db, image: "docker.io/lab/pause:1", imagePullPolicy: Never}]
"""


@contextlib.contextmanager
def stranger(root: Path, tag: str) -> Iterator[App]:
    """The probe by a chart that a stranger wrote, whose values give the tag as `tag`."""
    with application("stranger", root) as app:
        for name, text in {"Chart.yaml": CHART, "values.yaml": VALUES, "templates/app.yaml": TEMPLATE}.items():
            file = app.root / "theirs" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        blueprint = app.root / "config" / f"{app.name}.yml"
        said = yaml.safe_load(blueprint.read_text())
        said["stages"]["deploy"] = {
            "driver": "helm", "cluster": "railiance01", "namespace": "coulomb", "release": app.name, "chart": "theirs",
            "values": {"image": {"repository": "{repository}", "tag": tag}, "secret": "QSBzdHJhbmdlcidzIHNlc3Npb24gc2VjcmV0LCAzMiBieQ=="},
        }  # fmt: skip
        said["stages"]["verify"] = {"driver": "checks", "cluster": "railiance01", "deadline": 60}
        blueprint.write_text(yaml.safe_dump(said, sort_keys=False))
        (app.root / "config" / f"{app.name}.lab.yml").write_text("site: .pipeline/lab/site.yml\n")
        app.commit("A stranger's chart")
        yield app


@pytest.mark.parametrize("tag", ["{tag}", "{tag}@{digest}"])
def test_a_chart_that_writes_repository_and_tag_goes_through_everything(tag: str, tmp_path: Path, lab_site_file: Path) -> None:
    with stranger(tmp_path / "copy", tag) as app:
        first = app.inv("release")
        assert first.returncode == 0, first.stderr
        again = app.inv("release")
        assert again.returncode == 0, again.stderr
        assert "revision 1" in again.stdout + again.stderr
        app.change("of a stranger")
        changed = app.inv("release")
        assert changed.returncode == 0, changed.stderr
        digest = next(line.split()[1] for line in changed.stdout.splitlines() if line.startswith("digest"))
        verified = app.inv("verify")
        assert verified.returncode == 0, verified.stderr
        back = app.inv("rollback")
        assert back.returncode == 0, back.stderr
        pods = json.loads(app.kubectl("get", "pods", "--selector", f"app={app.name}", "--output", "json"))
        stay = [pod for pod in pods["items"] if "deletionTimestamp" not in pod["metadata"]]
        runs = {each["imageID"] for pod in stay for each in pod["status"]["containerStatuses"] if each["name"] == "stranger"}
        assert not [each for each in runs if digest in each]
        assert runs
        status = app.inv("status")
        assert status.returncode == 0, status.stderr
        assert next(each for each in runs).rpartition("@")[2] in status.stdout


def test_a_plan_tells_of_a_chart_that_the_images_do_not_fit_before_anything_is_built(tmp_path: Path, lab_site_file: Path) -> None:
    with stranger(tmp_path / "copy", "{tag}@{digest}") as app:
        blueprint = app.root / "config" / f"{app.name}.yml"
        fits = blueprint.read_text()
        blueprint.write_text(fits.replace("'{repository}'", "other").replace("'{tag}@{digest}'", "'1'"))
        assert fits != blueprint.read_text()
        unused = app.inv("plan")
        assert unused.returncode == 2, unused.stdout
        assert "is not used by chart stranger" in unused.stderr
        assert "used are: docker.io/lab/pause, lab/pause, other" in unused.stderr
        refused = app.inv("release")
        assert refused.returncode == 2, refused.stderr
        assert "build" not in [line.split()[2] for line in refused.stderr.splitlines() if " begins " in line]
        blueprint.write_text(fits)
        chart = app.root / "theirs" / "Chart.yaml"
        chart.write_text(CHART + "dependencies: [{name: cache, version: 1.0.0, repository: 'https://charts.example.org'}]\n")
        missing = app.inv("plan")
        assert missing.returncode == 2, missing.stdout
        assert "not in its folder charts/" in missing.stderr
        chart.write_text(CHART)
        whole = app.inv("plan")
        assert whole.returncode == 0, whole.stderr
        assert "deploy   to do" in whole.stdout
