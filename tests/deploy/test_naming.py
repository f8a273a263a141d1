"""How charts name images: by digest, by tag, by both; in what runs all the time, and in what does not."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from pipeline.artifacts import Images, Release
from pipeline.deploy import naming
from pipeline.deploy.back import back
from pipeline.deploy.helm import find, live, make
from pipeline.deploy.spec import Helm
from pipeline.errors import IntegrityError, RolledBack
from pipeline.stage import Registry, Site
from pipeline.testing.registry import FakeRegistry
from pipeline.tools import placeholders, references
from tests.deploy.cluster import NAMESPACE, RELEASE, Cluster, workload
from tests.deploy.test_helm import images as _images

TAG, BOTH = "{tag}", "{tag}@{digest}"


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry(auth="none") as made:
        yield made


@pytest.fixture
def site(site: Site, registry: FakeRegistry) -> Site:
    return dataclasses.replace(site, registries={"reg": Registry(registry.address, scheme="http")})


def pushed(registry: FakeRegistry, cluster: Cluster, letter: str) -> Images:
    """An image in the registry, under the tag of its commit."""
    digest = registry.put("team/web", letter * 7, (letter.encode(),))[0]
    of = _images(letter)
    image = dataclasses.replace(of.images[0], repository=f"{registry.address}/team/web", digest=digest)
    cluster.runs[f"{image.repository}:{image.tag}"] = image.reference
    return dataclasses.replace(of, images=(image,))


def spec(tag: str) -> Helm:
    return Helm("lab", NAMESPACE, RELEASE, values={"image": {"repository": "{repository}", "tag": tag}}, deadline=10.0)


@pytest.mark.parametrize("tag", [TAG, BOTH])
def test_a_chart_that_writes_repository_and_tag_is_released_found_changed_and_taken_back(
    tag: str, site: Site, cluster: Cluster, registry: FakeRegistry
) -> None:
    one, two = pushed(registry, cluster, "a"), pushed(registry, cluster, "b")
    made = make(spec(tag), one, site)
    assert find(spec(tag), one, site).artifact == made
    assert len(cluster.calls("upgrade")) == 1
    assert find(spec(tag), two, site).artifact is None
    make(spec(tag), two, site)
    now = live(spec(tag), site)
    assert now is not None
    assert [image.digest for image in now.images] == [two.images[0].digest]
    assert now.images[0].repository == two.images[0].repository
    with back(spec(tag), "", False, site) as way:
        assert isinstance(way.goal, Release)
        assert [image.digest for image in way.goal.images] == [one.images[0].digest]
        assert way.go is not None
        went = way.go()
        assert isinstance(went, Release)
        assert [image.digest for image in went.images] == [one.images[0].digest]
    assert find(spec(tag), one, site).artifact is not None


def test_a_tag_that_was_moved_is_named_and_is_no_way_back(site: Site, cluster: Cluster, registry: FakeRegistry) -> None:
    one, two = pushed(registry, cluster, "a"), pushed(registry, cluster, "b")
    make(spec(TAG), one, site)
    make(spec(TAG), two, site)
    registry.put("team/web", "a" * 7, (b"something else",))
    registry.put("team/web", "b" * 7, (b"something else",))
    assert "in the registry by now" in find(spec(TAG), two, site).why
    with pytest.raises(IntegrityError, match="cannot come back"), back(spec(TAG), "", False, site):
        pass


def test_pods_that_run_something_else_by_the_same_tag_are_seen_and_taken_back(site: Site, cluster: Cluster, registry: FakeRegistry) -> None:
    one, two = pushed(registry, cluster, "a"), pushed(registry, cluster, "b")
    cluster.runs[f"{two.images[0].repository}:{'b' * 7}"] = f"{two.images[0].repository}@sha256:{'0' * 64}"
    make(spec(TAG), one, site)
    with pytest.raises(RolledBack) as caught:
        make(spec(TAG), two, site)
    assert f"runs sha256:{'0' * 64}" in caught.value.cause
    assert "{tag}@{digest}" in caught.value.mend
    assert find(spec(TAG), one, site).artifact is not None


def test_an_image_that_only_a_cron_job_names_is_no_edit(site: Site, cluster: Cluster) -> None:
    of = _images("a")
    jobs = dataclasses.replace(of.images[0], repository="reg.test:5000/team/nightly", digest=f"sha256:{'c' * 64}")
    both = dataclasses.replace(of, images=(*of.images, jobs))
    pod = {"spec": {"containers": [{"name": "n", "image": jobs.reference}]}}
    cron = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "nightly"},
        "spec": {"jobTemplate": {"spec": {"template": pod}}},
    }
    values = {"image": {"repository": "{web.repository}", "digest": "{web.digest}"}, "objects": [cron]}
    chart = Helm("lab", NAMESPACE, RELEASE, values=values, deadline=10.0)
    made = make(chart, both, site)
    assert find(chart, both, site).artifact == made


def test_other_peoples_images_by_digest_are_not_what_was_released(site: Site, cluster: Cluster) -> None:
    other = f"docker.io/library/postgres@sha256:{'d' * 64}"
    cluster.chart(workload(), workload("db", labels={"app": "db"}).replace("IMAGE", other))
    values = {"image": {"repository": "{repository}", "digest": "{digest}"}}
    chart = Helm("lab", NAMESPACE, RELEASE, values=values, deadline=10.0)
    make(chart, _images("a"), site)
    now = live(chart, site)
    assert now is not None
    assert [image.reference for image in now.images] == [_images("a").images[0].reference]


def test_a_revision_says_how_many_images_it_was_released_with() -> None:
    found = naming.labels(_images("a"))
    assert found == {"images": "1", "image-0": "a" * 63}


@pytest.mark.parametrize(
    ("values", "image"),
    [
        (
            {"registry": "{repository.registry}", "repository": "{repository.path}", "digest": "{digest}"},
            "{registry}/{repository}@{digest}",
        ),
        ({"repository": "{repository}", "sha256": "{digest.hex}"}, "{repository}@sha256:{sha256}"),
        ({"repository": "{repository}@{digest.algorithm}", "tag": "{digest.hex}"}, "{repository}:{tag}"),
        ({"repository": "{web.repository}", "tag": "{web.tag}", "sha": "{web.digest.hex}"}, "{repository}:{tag}@sha256:{sha}"),
    ],
)
def test_there_are_words_for_what_charts_take(values: dict[str, str], image: str) -> None:
    of = _images("a")
    placeholders.check(values, "values")
    filled = placeholders.render(values, placeholders.words(of.source, of.images, "web"))
    named = references.read(image.format_map(filled))
    assert (named.repository, named.digest) == (of.images[0].repository, of.images[0].digest)
