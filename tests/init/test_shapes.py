"""What `inv init` makes of each shape of repository: a blueprint that loads, with the right images in the right places."""

from __future__ import annotations

from pathlib import Path

import pytest

import pipeline
from pipeline.errors import ConfigError
from tests.init.shapes import CHART, DEPLOYMENT, DOCKERFILE, SITE, VALUES, Repository, repository

ONE = {"Dockerfile": DOCKERFILE, "main.py": ""}
KUSTOMIZATION = "namespace: live\nresources: [../../base]\nimages: [{name: acme/shop, newName: new/shop}]\n"
FLAKE = '{ outputs = { self }: { packages.x86_64-linux.dockerImage = pkgs.dockerTools.buildLayeredImage { name = "x"; }; }; }\n'
HELM = {"chart/Chart.yaml": CHART.format(name="chart"), "chart/values.yaml": VALUES, "chart/templates/x.yaml": "a: {{ .Values.a }}\n"}


def loads(made: Repository) -> None:
    assert pipeline.load(made.root / "config").plan


def test_a_dockerfile_and_a_chart(tmp_path: Path) -> None:
    made = repository(tmp_path / "r", {**ONE, **HELM})
    made.init()
    loads(made)
    assert made.blueprint["app"] == "shop"
    assert made.stages["build"] == {"driver": "buildx", "registry": "ghcr", "images": {"shop": {"repository": "acme/shop"}}}
    assert made.stages["deploy"]["chart"] == "chart"
    assert made.stages["deploy"]["values"] == {"image": {"repository": "{repository}", "tag": "{tag}@{digest}"}}
    assert made.stages["deploy"]["namespace"] == made.stages["deploy"]["release"] == "shop"
    assert made.text("tasks.py") == 'from pipeline import collection\n\nns = collection("config")\n'


def test_a_dockerfile_and_a_kustomization(tmp_path: Path) -> None:
    files = {
        **ONE,
        "deploy/base/kustomization.yaml": "resources: [deployment.yaml]\n",
        "deploy/base/deployment.yaml": DEPLOYMENT.format(name="shop", image="acme/shop:1"),
        "deploy/overlays/prod/kustomization.yaml": KUSTOMIZATION,
        "deploy/overlays/dev/kustomization.yaml": "namespace: dev\nresources: [../../base]\n",
    }
    made = repository(tmp_path / "r", files)
    made.init()
    loads(made)
    deploy = made.stages["deploy"]
    assert (deploy["driver"], deploy["manifests"], deploy["namespace"]) == ("kubectl", "deploy/overlays/prod", "live")
    assert deploy["images"] == [{"name": "new/shop"}]
    assert "# not deployed: kustomization deploy/overlays/dev" in made.text("config/shop.yml")


def test_a_dockerfile_and_plain_manifests(tmp_path: Path) -> None:
    files = {
        **ONE,
        "k8s/web.yaml": DEPLOYMENT.format(name="web", image="registry.example.org/team/shop:2"),
        "k8s/db.yaml": DEPLOYMENT.format(name="db", image="postgres:16"),
    }
    made = repository(tmp_path / "r", files)
    made.init()
    loads(made)
    deploy = made.stages["deploy"]
    assert (deploy["driver"], deploy["manifests"], deploy["name"]) == ("kubectl", "k8s", "shop")
    assert deploy["images"] == [{"name": "registry.example.org/team/shop"}]


def test_a_chart_alone(tmp_path: Path) -> None:
    made = repository(tmp_path / "r", HELM)
    made.init()
    loads(made)
    assert made.stages["build"] == {"driver": "tagged", "registry": "hub", "repository": "nginx", "tag": "1.16.0"}
    assert made.stages["deploy"]["values"] == {"image": {"repository": "{repository}", "tag": "{tag}@{digest}"}}
    assert "address: docker.io" in made.text("config/site.yml")


def test_a_flake_and_a_chart(tmp_path: Path) -> None:
    made = repository(tmp_path / "r", {**HELM, "flake.nix": FLAKE})
    made.init()
    loads(made)
    assert made.stages["build"] == {"driver": "nix", "host": "builder", "attr": "dockerImage"}
    assert made.stages["push"] == {"driver": "skopeo", "registry": "ghcr", "repository": "acme/shop"}
    assert "builder:" in made.text("config/site.yml")


def test_one_image_for_each_service(tmp_path: Path) -> None:
    files = {
        "src/web/Dockerfile": "FROM scratch\nCOPY app.py /\n",
        "src/web/app.py": "",
        "src/cart/src/Dockerfile": "FROM scratch\nCOPY cart.go /\n",
        "src/cart/src/cart.go": "",
        "src/loadtest/Dockerfile": "FROM scratch\n",
        "manifests/web.yaml": DEPLOYMENT.format(name="web", image="web"),
        "manifests/cart.yaml": DEPLOYMENT.format(name="cart", image="example/cart:1"),
        "manifests/db.yaml": DEPLOYMENT.format(name="db", image="redis:7"),
    }
    made = repository(tmp_path / "r", files)
    done = made.init()
    loads(made)
    assert made.stages["build"]["images"] == {
        "cart": {"repository": "acme/cart", "context": "src/cart/src"},
        "web": {"repository": "acme/web", "context": "src/web"},
    }
    assert made.stages["deploy"]["images"] == [{"name": "web"}, {"name": "example/cart"}]
    assert any("src/loadtest/Dockerfile" in each for each in done.told)


def test_a_chart_with_two_images(tmp_path: Path) -> None:
    values = (
        "web:\n  image: {repository: x/web, tag: a}\nworker:\n  image: {registry: docker.io, repository: x/worker, tag: a, digest: ''}\n"
        "db: {image: 'postgres:16'}\n"
    )
    files = {"web/Dockerfile": "FROM scratch\n", "worker/Dockerfile": "FROM scratch\n", **HELM, "chart/values.yaml": values}
    made = repository(tmp_path / "r", files)
    made.init()
    loads(made)
    assert made.stages["deploy"]["values"] == {
        "web": {"image": {"repository": "{web.repository}", "tag": "{web.tag}@{web.digest}"}},
        "worker": {
            "image": {
                "registry": "{worker.repository.registry}",
                "repository": "{worker.repository.path}",
                "tag": "{worker.tag}",
                "digest": "{worker.digest}",
            }
        },
    }


def test_names_of_a_site_that_is_there_are_used(tmp_path: Path) -> None:
    made = repository(tmp_path / "r", {**ONE, **HELM, "config/site.yml": SITE}, remote="git@git.acme.org:acme/shop.git")
    made.init()
    loads(made)
    assert made.stages["build"]["registry"] == "ghcr"
    assert made.stages["build"]["builders"] == ["kit"]
    assert made.stages["deploy"]["cluster"] == "prod"
    assert made.text("config/site.yml") == SITE


def test_flags_decide(tmp_path: Path) -> None:
    made = repository(tmp_path / "r", {**ONE, "Dockerfile.dev": "FROM scratch\n", **HELM, "config/site.yml": SITE})
    made.init(app="till", build=("Dockerfile.dev",), deploy="chart/", namespace="money", registry="inner", cluster="other")
    loads(made)
    assert made.blueprint["app"] == "till"
    assert made.stages["build"]["registry"] == "inner"
    assert made.stages["build"]["images"]["till"]["dockerfile"] == "Dockerfile.dev"
    assert (made.stages["deploy"]["namespace"], made.stages["deploy"]["cluster"]) == ("money", "other")


def test_compose_alone_gets_the_build_part_and_is_told(tmp_path: Path) -> None:
    compose = "services:\n  web: {build: ./web}\n  db: {image: 'postgres:16'}\n"
    made = repository(tmp_path / "r", {"docker-compose.yml": compose, "web/Dockerfile": "FROM scratch\n"})
    done = made.init()
    loads(made)
    assert set(made.stages) == {"build"}
    assert any("Docker hosts comes later" in each for each in done.told)


def test_nothing_at_all_is_refused_and_nothing_written(tmp_path: Path) -> None:
    made = repository(tmp_path / "r", {"README": "x"})
    with pytest.raises(ConfigError, match="nothing that can be built or deployed"):
        made.init()
    assert made.git("status", "--short") == ""


def test_a_kustomization_goes_before_the_folder_whose_files_it_names(tmp_path: Path) -> None:
    files = {
        **ONE,
        "kustomization.yaml": "resources: [k8s/web.yaml, k8s/db.yaml]\nconfigMapGenerator: [{name: schema, literals: [a=b]}]\n",
        "k8s/web.yaml": DEPLOYMENT.format(name="web", image="acme/shop:1"),
        "k8s/db.yaml": DEPLOYMENT.format(name="db", image="postgres:16"),
    }
    made = repository(tmp_path / "r", files)
    made.init()
    loads(made)
    assert made.stages["deploy"]["manifests"] == "."
    assert made.stages["deploy"]["images"] == [{"name": "acme/shop"}]
    assert "# not deployed" not in made.text("config/shop.yml")


def test_the_dockerfile_beside_what_is_deployed_is_the_one(tmp_path: Path) -> None:
    files = {
        "02/Dockerfile": "FROM scratch\n",
        "03/Dockerfile": "FROM scratch\n",
        "assets/dockerfile-1.svg": "<svg/>",
        "03/kube/shop.yaml": DEPLOYMENT.format(name="shop", image="acme/shop:1"),
    }
    made = repository(tmp_path / "r", files)
    made.init()
    loads(made)
    assert made.stages["build"]["images"] == {"shop": {"repository": "acme/shop", "context": "03"}}


def test_a_chart_that_makes_all_names_from_one_place(tmp_path: Path) -> None:
    values = "images: {repository: example.org/shop, tag: ''}\ncart: {name: cart}\nweb: {name: web}\n"
    files = {"src/web/Dockerfile": "FROM scratch\n", "src/cart/Dockerfile": "FROM scratch\n", **HELM, "chart/values.yaml": values}
    made = repository(tmp_path / "r", files)
    made.init()
    loads(made)
    assert made.stages["deploy"]["values"] == {"images": {"repository": "{cart.repository.registry}/acme", "tag": "{tag}"}}


def test_which_of_several_images_was_taken_is_told(tmp_path: Path) -> None:
    files = {
        **ONE,
        "k8s/a.yaml": DEPLOYMENT.format(name="a", image="acme/one:1"),
        "k8s/b.yaml": DEPLOYMENT.format(name="b", image="acme/two:1"),
    }
    done = repository(tmp_path / "r", files).init()
    assert any("acme/one is taken for what is built here" in each for each in done.told)


def test_compose_says_the_context(tmp_path: Path) -> None:
    compose = "services:\n  web: {build: {context: ., dockerfile: docker/web.Dockerfile, target: dev}}\n"
    made = repository(tmp_path / "r", {"compose.yaml": compose, "docker/web.Dockerfile": "FROM scratch\n", **HELM})
    made.init()
    loads(made)
    assert made.stages["build"]["images"] == {"shop": {"repository": "acme/shop", "dockerfile": "docker/web.Dockerfile"}}


def test_a_workflow_says_the_context(tmp_path: Path) -> None:
    step = "{uses: docker/build-push-action@v6, with: {context: services, file: services/docker/Dockerfile}}"
    flow = f"jobs:\n  image:\n    steps:\n      - {step}\n"
    made = repository(tmp_path / "r", {".github/workflows/x.yml": flow, "services/docker/Dockerfile": "FROM scratch\n", **HELM})
    made.init()
    loads(made)
    assert made.stages["build"]["images"]["shop"] == {
        "repository": "acme/shop",
        "context": "services",
        "dockerfile": "services/docker/Dockerfile",
    }


def test_jsonnet_gets_the_arguments_of_its_function(tmp_path: Path) -> None:
    made = repository(tmp_path / "r", {**ONE, "shop.jsonnet": "function(image, commit='', replicas=1) []\n"})
    made.init()
    loads(made)
    assert made.stages["deploy"]["driver"] == "kubecfg"
    assert made.stages["deploy"]["values"] == {"image": "{reference}", "commit": "{commit}"}


def test_a_chart_whose_values_name_no_image(tmp_path: Path) -> None:
    made = repository(tmp_path / "r", {**HELM, "chart/values.yaml": "replicas: 1\n"})
    made.init()
    loads(made)
    assert made.stages["build"] == {"driver": "none"}
    assert "values" not in made.stages["deploy"]
