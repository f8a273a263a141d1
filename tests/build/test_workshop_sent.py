"""What a builder gets of the source: the contexts of the images, less what their .dockerignore leaves out."""

from __future__ import annotations

from pathlib import Path

from pipeline.build.buildx_spec import ImageSpec
from pipeline.build.workshop import sent


def test_what_is_in_no_context_is_not_sent(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web/.dockerignore").write_text("# not these\n\n.env\n**/fixtures\n!keep/.env\n/private\n")
    is_sent = sent(tmp_path, [ImageSpec("team/web", context="web"), ImageSpec("team/worker", context="./worker")])
    assert is_sent("web/main.c")
    assert is_sent("worker/.env")
    assert is_sent("web/deep/.env"), "a pattern without ** is of the top alone"
    assert not is_sent("web/.env")
    assert not is_sent("web/tests/fixtures/key.pem")
    assert not is_sent("web/private/key")
    assert not is_sent("ops/.env")
    assert not is_sent(".env")


def test_a_dockerfile_may_have_an_ignore_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / ".dockerignore").write_text("*\n")
    (tmp_path / "prod.Dockerfile.dockerignore").write_text("vendor\n")
    is_sent = sent(tmp_path, [ImageSpec("team/web", dockerfile="prod.Dockerfile")])
    assert is_sent("main.c")
    assert not is_sent("vendor/lib")
    assert not sent(tmp_path, [ImageSpec("team/web")])("main.c")
