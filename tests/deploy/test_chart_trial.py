"""A chart is rendered before anything is built, with images of the names that the build will give."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pipeline.artifacts import Image, Images
from pipeline.deploy.helm import DRIVER
from pipeline.deploy.spec import Helm
from pipeline.errors import ConfigError
from pipeline.events import Event, What
from pipeline.stage import Site
from tests.deploy.cluster import NAMESPACE, RELEASE, Cluster
from tests.deploy.test_helm import images

USED = {"image": {"repository": "{repository}", "digest": "{digest}"}}


def rehearse(site: Site, values: dict[str, Any], of: Images | None = None) -> None:
    assert DRIVER.rehearse is not None
    DRIVER.rehearse(Helm(cluster="lab", namespace=NAMESPACE, release=RELEASE, values=values), of or images(), site)


def warnings(events: list[Event]) -> list[str]:
    return [event.text for event in events if event.what is What.WARN]


def test_a_chart_that_uses_the_image_is_tried_once_and_nothing_is_written(site: Site, cluster: Cluster) -> None:
    rehearse(site, USED)
    rehearse(site, USED)
    assert len(cluster.calls("template")) == 1
    assert cluster.calls("upgrade") == []
    assert [each for each in (site.root / ".pipeline" / "deploy").iterdir() if each.name.startswith(".trial")] == []


def test_by_its_tag_alone_it_is_used_too(site: Site) -> None:
    rehearse(site, {"image": {"repository": "{repository}", "tag": "{tag}"}})


def test_an_image_that_the_chart_does_not_use_is_told_with_where_the_chart_wants_one(site: Site) -> None:
    (site.root / "chart" / "values.yaml").write_text("image: {repository: web, tag: x}\nproxy: {image: nginx}\n")
    with pytest.raises(ConfigError) as caught:
        rehearse(site, {"image": {"repository": "docker.io/other/app", "tag": "1"}})
    assert caught.value.what == f"image {images().images[0].repository} is not used by chart web"
    assert caught.value.cause == "used are: docker.io/other/app"
    assert "(image.repository, proxy.image)" in caught.value.mend
    assert 'repository: "{repository}", tag: "{tag}@{digest}"' in caught.value.mend


def test_of_a_set_the_one_that_is_left_over_is_named_by_its_words(site: Site) -> None:
    other = Image("reg.test/shop/worker", "sha256:" + "e" * 64, "t")
    both = dataclasses.replace(images(), images=(*images().images, other))
    with pytest.raises(ConfigError, match=r"image reg\.test/shop/worker is not used") as caught:
        rehearse(site, {"image": {"repository": "{web.repository}", "digest": "{web.digest}"}}, both)
    assert '"{worker.repository}"' in caught.value.mend


@pytest.mark.parametrize("text", ["Error: execution error at (web/templates/a.yaml:1:1): no class", "Error: something that nobody knows"])
def test_what_may_be_another_on_the_cluster_is_told_and_not_refused(site: Site, cluster: Cluster, events: list[Event], text: str) -> None:
    (site.root / "chart" / "templates").mkdir()
    (site.root / "chart" / "templates" / "a.yaml").write_text('{{ lookup "v1" "Secret" "a" "b" }}')
    cluster.fail("template", {"left": "nothing", "text": text})
    rehearse(site, USED)
    assert any(text.rpartition(": ")[2] in each for each in warnings(events))


def test_a_template_that_fails_whatever_the_cluster_says_is_refused(site: Site, cluster: Cluster) -> None:
    cluster.fail("template", {"left": "nothing", "text": "Error: execution error at (web/templates/a.yaml:1:1): image.tag is required"})
    with pytest.raises(ConfigError, match="the chart cannot be rendered") as caught:
        rehearse(site, USED)
    assert "image.tag is required" in caught.value.cause
    rehearse(site, USED)  # nothing was remembered of the one that failed
    assert len(cluster.calls("template")) == 2
