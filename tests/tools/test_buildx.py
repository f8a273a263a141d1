"""buildx: words of its calls, and what its recorded outputs mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import Ambiguous, BuildError, IntegrityError, PipelineError, Unknown
from pipeline.places import Builder
from pipeline.tools import buildx
from pipeline.tools.buildx import Build, Node, State
from pipeline.tools.buildx_errors import meaning

CASES = Path(__file__).parents[1] / "cases" / "buildx"
DIGEST = "sha256:" + "ab" * 32


def test_a_build_goes_out_by_digest_and_carries_no_secret() -> None:
    one = Build(
        "ghcr.io/team/web", "/src/web", "/src/web/Dockerfile", target="run", args={"B": "2", "A": "1"}, labels={"l": "x"},
        platforms=("linux/amd64", "linux/arm64"), secrets={"token": "/private/secret-0"}, cache_from=("type=registry,ref=a",),
        cache_to=("type=registry,ref=b",), epoch=1700000000,
    )  # fmt: skip
    assert buildx.build("lab", one, "/m.json") == (
        "build", "--builder", "lab", "--progress", "rawjson", "--metadata-file", "/m.json", "--output",
        "type=image,name=ghcr.io/team/web,push=true,push-by-digest=true,name-canonical=true,oci-mediatypes=true,rewrite-timestamp=true",
        "--provenance=false", "--sbom=false", "--platform", "linux/amd64,linux/arm64", "--file", "/src/web/Dockerfile", "--target", "run",
        "--build-arg", "A=1", "--build-arg", "B=2", "--build-arg", "SOURCE_DATE_EPOCH=1700000000", "--label", "l=x",
        "--secret", "id=token,src=/private/secret-0", "--cache-from", "type=registry,ref=a", "--cache-to", "type=registry,ref=b",
        "--", "/src/web",
    )  # fmt: skip


def test_plain_http_and_provenance_are_said_not_left_to_defaults() -> None:
    words = buildx.build("lab", Build("r:1/x", "/src", provenance="min", plain_http=True), "/m")
    assert "--provenance=mode=min" in words
    assert words[words.index("--output") + 1].endswith("oci-mediatypes=true,registry.insecure=true")
    assert not any(word.startswith("SOURCE_DATE_EPOCH") for word in words)


def test_several_nodes_join_what_they_built_under_a_tag_that_is_named() -> None:
    """Without one buildx would move `latest`."""
    words = buildx.build("lab", Build("r:1/x", "/src", tag="built-1"), "/m")
    assert words[words.index("--output") + 1] == "type=image,name=r:1/x:built-1,push=true,oci-mediatypes=true"


@pytest.mark.parametrize(
    ("address", "driver", "endpoint"),
    [
        ("unix:///run/b.sock", "remote", "unix:///run/b.sock"),
        ("tcp://arm:1234", "remote", "tcp://arm:1234"),
        ("ssh://root@arm", "docker-container", "ssh://root@arm"),
        ("docker", "docker-container", ""),
    ],
)
def test_a_builders_address_says_how_it_is_reached(address: str, driver: str, endpoint: str) -> None:
    assert buildx.node(Builder(address)) == Node(driver, endpoint)


def test_a_second_node_is_added_for_its_own_platforms() -> None:
    first, second = Node("remote", "unix:///a", ("linux/amd64",)), Node("docker-container", "")
    assert buildx.create("b", first, append=False) == (
        "create",
        "--name",
        "b",
        "--driver",
        "remote",
        "--platform",
        "linux/amd64",
        "--",
        "unix:///a",
    )
    assert buildx.create("b", second, append=True) == ("create", "--name", "b", "--driver", "docker-container", "--append", "--")


def test_files_for_tls_and_an_image_are_handed_on_where_they_belong() -> None:
    tls = buildx.node(Builder("tcp://arm:1234", ca="/ca.pem", cert="/me.pem", key="/me.key"))
    words = buildx.create("b", tls, append=False)
    assert [words[at + 1] for at, word in enumerate(words) if word == "--driver-opt"] == ["cacert=/ca.pem", "cert=/me.pem", "key=/me.key"]
    assert "image=own/buildkit:1" in buildx.create("b", buildx.node(Builder("docker", image="own/buildkit:1")), append=False)
    for wrong in (("docker", "/ca.pem", ""), ("tcp://arm:1", "", "own/buildkit:1"), ("tcp://arm:1", "/a,b=c", "")):
        with pytest.raises(ValueError, match="is not for a builder"):
            Builder(wrong[0], ca=wrong[1], image=wrong[2])


def test_inspect_tells_each_node_and_what_was_set_by_hand_without_its_star() -> None:
    one, two = buildx.states((CASES / "inspect-two.txt").read_text())
    assert one.status == "running"
    assert one.platforms[:2] == ("linux/amd64", "linux/arm64")
    assert two == State("unix:///none.sock", "inactive", ("linux/arm64",))
    assert buildx.states((CASES / "inspect-dead.txt").read_text())[0].status == "inactive"
    assert buildx.states("no such thing") == []


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"containerimage.digest": "main"}'])
def test_a_metadata_file_without_a_digest_is_no_success(text: str) -> None:
    with pytest.raises(IntegrityError):
        buildx.digest(text)


def test_the_digest_is_the_metadata_files() -> None:
    assert buildx.digest(f'{{"containerimage.digest": "{DIGEST}", "image.name": "x"}}') == DIGEST


def test_a_word_in_the_steps_own_output_is_no_reason() -> None:
    """A test suite that prints `connection refused` and fails is a failed step, not a broken line."""
    said = ['ERROR: failed to build: failed to solve: process "/bin/sh -c test" did not complete successfully: exit code: 1']
    assert type(meaning(said, ["connection refused", "401 Unauthorized"], 1)) is BuildError


@pytest.mark.parametrize(("code", "kind"), [(137, Ambiguous), (1, Unknown)])
def test_what_nobody_knows_is_unknown_or_a_killed_one(code: int, kind: type[PipelineError]) -> None:
    assert type(meaning(["something new"], [], code)) is kind
