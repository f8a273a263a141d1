"""Image automation: the objects, each as its schema has it, and the markers on the lines that are Flux's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pipeline import schema
from pipeline.errors import ConfigError
from pipeline.gitops.automation import Place, files, marked
from pipeline.gitops.spec import Automation, Newest
from pipeline.stage import Registry
from pipeline.tools import tag_rules
from pipeline.tools.markers import Marker
from pipeline.tools.tags import Ref, tags
from pipeline.yamlfile import parse

CASES = Path(__file__).parents[1] / "cases" / "automation"
PLACE = Place("fade", "fade", "clusters/production/fade/release.yaml", "main")
SERVER, NODE = "docker.io/owner/fade-server", "docker.io/owner/node"
BOTH = Automation({"fade-server": SERVER, "node": NODE})
COMMIT = "90dd6032fac8bda1b6c4436a2e65de27961ed071"


def objects(spec: Automation, place: Place = PLACE, **registries: Registry) -> dict[tuple[str, str], dict[str, Any]]:
    ((path, text),) = files(spec, place, registries).items()
    assert path == f"{place.folder}/image-automation.yaml".lstrip("/")
    found = list(yaml.safe_load_all(text))
    assert all(each["apiVersion"] == "image.toolkit.fluxcd.io/v1" and each["metadata"]["namespace"] == place.system for each in found)
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


def policy(newest: Newest | None = None) -> dict[str, Any]:
    spec: dict[str, Any] = objects(Automation({"web": "r/web"}, {"web": newest} if newest else {}))["ImagePolicy", "fade-web"]["spec"]
    return spec


def test_each_image_has_its_repository_and_its_policy_and_one_object_writes() -> None:
    found = objects(BOTH)
    assert list(found) == [
        ("ImageRepository", "fade-server"), ("ImagePolicy", "fade-server"),
        ("ImageRepository", "fade-node"), ("ImagePolicy", "fade-node"),
        ("ImageUpdateAutomation", "fade"),
    ]  # fmt: skip
    assert found["ImageRepository", "fade-node"]["spec"] == {
        "image": NODE,
        "interval": "5m",
        "exclusionList": ["^.*\\.sig$", "^sha256-"],
    }
    assert found["ImagePolicy", "fade-node"]["spec"]["imageRepositoryRef"] == {"name": "fade-node"}


def test_the_newest_of_a_branch_is_told_by_the_time_in_its_sortable_tag() -> None:
    spec = policy()
    assert spec["policy"] == {"numerical": {"order": "asc"}}
    assert spec["digestReflectionPolicy"] == "IfNotPresent"
    rule = spec["filterTags"]
    assert rule["extract"] == "$ts"
    for branch in ("main", "feature/x.y"):
        pattern = re.compile(policy(Newest(branch))["filterTags"]["pattern"])
        ref = Ref(COMMIT, branch, time=1700000000)
        (tag,) = tags(tag_rules.parse(["sortable"]), ref).names
        match = pattern.fullmatch(tag)
        assert match is not None
        assert match["ts"] == "1700000000"
        others = (
            "sha256-1a2b3c4-1",
            "main-latest",
            "main-1a2b3c4",
            "v1.2.3",
            "main-1a2b3c4-dirty-17",
            "xmain-1a2b3c4-1",
            "feature-xzy-1a-1",
        )
        assert [each for each in others if pattern.fullmatch(each)] == []


def test_other_policies() -> None:
    spec = policy(Newest(pattern="^build-(?P<n>[0-9]+)$", extract="$n"))
    assert spec["filterTags"] == {"pattern": "^build-(?P<n>[0-9]+)$", "extract": "$n"}
    assert policy(Newest(pattern="^20.*$", order="alphabetical"))["policy"] == {"alphabetical": {"order": "asc"}}
    spec = policy(Newest(range=">=1.0.0 <2.0.0"))
    assert (spec["policy"], "filterTags" in spec) == ({"semver": {"range": ">=1.0.0 <2.0.0"}}, False)
    spec = policy(Newest(pattern="^latest$", order="alphabetical", digest="always"))
    assert (spec["digestReflectionPolicy"], spec["interval"]) == ("Always", "5m")
    assert policy(Newest(digest="never"))["digestReflectionPolicy"] == "Never"


def test_a_registry_that_speaks_plain_http_and_one_that_wants_a_login() -> None:
    spec = Automation({"web": "10.0.0.5:5000/owner/web", "db": "ghcr.io/owner/db"}, secrets={"db": "ghcr-login"})
    found = objects(spec, lab=Registry("10.0.0.5:5000", "http"), ghcr=Registry("ghcr.io"))
    assert found["ImageRepository", "fade-web"]["spec"]["insecure"] is True
    assert found["ImageRepository", "fade-db"]["spec"]["secretRef"] == {"name": "ghcr-login"}
    assert "insecure" not in found["ImageRepository", "fade-db"]["spec"]


def test_what_writes_has_the_fields_of_its_own_schema_and_the_template_data_that_is_left() -> None:
    """image-automation-controller 1.x has `.Changed` alone: `.Updated` makes the object Stalled."""
    crd = yaml.safe_load((CASES / "imageupdateautomations.yaml").read_text())
    shape = closed(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    spec = Automation({"web": "r/web"}, author="A Bot <bot@example.org>", push_branch="images", interval="10m")
    found = objects(spec)["ImageUpdateAutomation", "fade"]
    jsonschema.validate(found, shape)
    git = found["spec"]["git"]
    assert git["checkout"] == {"ref": {"branch": "main"}}
    assert git["push"] == {"branch": "images"}
    assert git["commit"]["author"] == {"name": "A Bot", "email": "bot@example.org"}
    assert set(re.findall(r"\.[A-Z]\w+", git["commit"]["messageTemplate"])) == {".Changed", ".Changes", ".OldValue", ".NewValue"}
    assert found["spec"]["update"] == {"strategy": "Setters", "path": "./clusters/production/fade"}
    labels = objects(spec)["ImagePolicy", "fade-web"]["metadata"]["labels"]
    assert found["spec"]["policySelector"] == {"matchLabels": labels}
    assert objects(BOTH)["ImageUpdateAutomation", "fade"]["spec"]["git"]["push"] == {"branch": "main"}
    with pytest.raises(jsonschema.ValidationError, match="pushed"):
        jsonschema.validate({**found, "spec": {**found["spec"], "pushed": 1}}, shape)


def closed(shape: Any) -> Any:
    """A schema of the API, in which a field that it does not name is refused, as the API drops it."""
    if not isinstance(shape, dict):
        return shape
    made = {
        key: {name: closed(each) for name, each in value.items()} if key == "properties" else closed(value) for key, value in shape.items()
    }
    return {**made, "additionalProperties": False} if "properties" in shape else made


def test_the_lines_of_an_image_get_their_markers() -> None:
    values = {
        "server": {"image": {"repository": "{fade-server.repository}", "tag": "{fade-server.tag}", "digest": "{fade-server.digest}"}},
        "node": "{node.reference}",
        "app": "{app}",
        "sidecar": "{node.repository}:{node.tag}",
        "replicas": 3,
        "braces": "{{x}}",
    }
    assert {".".join(path): str(marker) for path, marker in marked(BOTH, PLACE, values).items()} == {
        "server.image.repository": '# {"$imagepolicy": "flux-system:fade-server:name"}',
        "server.image.tag": '# {"$imagepolicy": "flux-system:fade-server:tag"}',
        "server.image.digest": '# {"$imagepolicy": "flux-system:fade-server:digest"}',
        "node": '# {"$imagepolicy": "flux-system:fade-node"}',
        "sidecar": '# {"$imagepolicy": "flux-system:fade-node"}',
    }


def test_a_digest_that_is_never_asked_for_cannot_be_written() -> None:
    spec = Automation({"fade": "ghcr.io/owner/fade"}, {"fade": Newest(digest="never")})
    assert marked(spec, PLACE, {"image": {"tag": "{tag}"}}) == {("image", "tag"): Marker("flux-system", "fade", "tag")}
    with pytest.raises(ConfigError, match=r"stages.deploy.values.image.digest: the digest of fade is never asked for"):
        marked(spec, PLACE, {"image": {"digest": "{digest}"}})


def test_a_single_image_needs_no_name() -> None:
    spec = Automation({"fade": "ghcr.io/owner/fade"})
    assert marked(spec, PLACE, {"image": {"digest": "{digest}"}}) == {("image", "digest"): Marker("flux-system", "fade", "digest")}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"commit": "{commit}"}, r"stages.deploy.values.commit: nobody would write \{commit\} any more"),
        ({"s": "{secret}"}, r"stages.deploy.values.s: nobody would write \{secret\} any more"),
        ({"d": "{digest}"}, r"nobody would write \{digest\} any more"),
        ({"d": "{other.digest}"}, r"nobody would write \{other.digest\} any more"),
        ({"image": {"tag": "v-{node.tag}"}}, r"stages.deploy.values.image.tag: Flux cannot write 'v-\{node.tag\}'"),
        ({"images": ["{node.tag}"]}, r"stages.deploy.values.images.0: Flux cannot write '\{node.tag\}' within a list"),
        ({"both": "{node.repository}:{fade-server.tag}"}, "names two images: fade-server, node"),
        ({"image": "{node.reference}"}, "no line of stages.deploy.values names fade-server"),
    ],
)
def test_a_line_that_nobody_would_keep_true_is_refused_with_what_to_do(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        marked(BOTH, PLACE, values)
    assert refused.value.mend


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("images: {}", "images is empty"),
        ("images: {Web: r/web}", "'Web' is not a name"),
        ("images: {web: https://r/web}", "HOST/PATH"),
        ("images: {web: r/web:1}", "without a tag"),
        ("images: {web: -r/web}", "HOST/PATH"),
        ("images: {web: r/web}\npolicies: {wep: {}}", "x.yml:2: the file: 'wep' is none of images: web"),
        ("images: {web: r/web}\nsecrets: {wep: s}", "x.yml:2: the file: 'wep' is none of images: web"),
        ("images: {web: r/web}\ninterval: 5", "interval takes text"),
        ("images: {web: r/web}\ninterval: 5 minutes", "x.yml:2: the file: '5 minutes' is no interval"),
        ("images: {web: r/web}\nauthor: me", "x.yml:2: the file: 'me' is not written as NAME <MAIL>"),
        ("images: {web: r/web}\npush_branch: --force", "x.yml:2: the file: '--force' is not the name of a branch"),
        ("images: {web: r/web}\npolicies:\n  web: {extract: $ts}", "write the pattern too"),
        ("images: {web: r/web}\npolicies:\n  web:\n    pattern: ^(?P<a>x)$\n    extract: $ts", r"x.yml:5: policies.web: \$ts is no group"),
        ("images: {web: r/web}\npolicies:\n  web:\n    pattern: '^(x$'", "x.yml:4: policies.web: .* is no regular expression"),
        ("images: {web: r/web}\npolicies:\n  web:\n    pattern: '^(?!x)$'", "which a regular expression of Go cannot"),
        ("images: {web: r/web}\npolicies:\n  web: {branch: -x}", "is not the name of a branch"),
        ("images: {web: r/web}\npolicies:\n  web: {order: numeric}", "did you mean 'numerical'"),
    ],
)
def test_bad_grammar_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        schema.build(Automation, parse(text, "x.yml"))


def test_a_whole_section_is_read() -> None:
    text = "images: {web: 'r:5000/web'}\npolicies: {web: {pattern: '^(?P<n>[0-9]+)$', extract: '${n}'}}\nsecrets: {web: login}\n"
    spec = schema.build(Automation, parse(text, "x.yml"))
    assert spec == Automation({"web": "r:5000/web"}, {"web": Newest(pattern="^(?P<n>[0-9]+)$", extract="${n}")}, secrets={"web": "login"})
