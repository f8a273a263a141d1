"""The jobs of a workflow, as plain values: what is built where, and when it gets its tags.

One image for one platform is built and pushed in a single job. Everything else is pushed by digest first, in a job for each platform on a
runner of that platform, and gets its tags only when all of it is there: nobody ever pulls half a set, or an index that lacks a platform.
Inputs of the actions: docker/build-push-action v7, docker/metadata-action v6 (their README).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.generate.pins import pinned
from pipeline.generate.spec import CiDeploy, CiImage, Workflow
from pipeline.generate.yamltext import Verbatim
from pipeline.tools import tag_rules
from pipeline.tools.tags import Ref, tags

HERE = Path(__file__).parent
Step = dict[str, Any]


def jobs(flow: Workflow) -> dict[str, Any]:
    """Every job by its name, in the order in which they run."""
    split = len(legs(flow)) > 1 or len(flow.images) > 1
    found = {**_builds(flow), "publish": _merge(flow)} if split else {"publish": _whole(flow)}
    return found | ({"deploy": _deploy(flow, flow.ci.deploy)} if flow.ci.deploy else {})


def legs(flow: Workflow) -> dict[str, tuple[str, ...]]:
    """The jobs that build, by name, and the platforms of each."""
    if flow.ci.emulate or len(flow.platforms) == 1:
        return {"build": flow.platforms}
    return {"build-" + platform.removeprefix("linux/").replace("/", "-"): (platform,) for platform in flow.platforms}


def _whole(flow: Workflow) -> dict[str, Any]:
    steps = prepared(flow, flow.platforms)
    for name, image in flow.images.items():
        pushed = {"push": True, "tags": f"${{{{ steps.{name}-meta.outputs.tags }}}}"}
        steps += [meta(flow, name, image), build(name, image, ",".join(flow.platforms), pushed)]
        steps.append(proof(name, f"${{{{ steps.{name}.outputs.digest }}}}"))
    return _job(flow, _runner(flow, flow.platforms), steps)


def _builds(flow: Workflow) -> dict[str, Any]:
    made = {}
    for job, platforms in legs(flow).items():
        steps = prepared(flow, platforms)
        for name, image in flow.images.items():
            where = f"{flow.ci.registry}/{image.repository}"
            pushed = {"outputs": f"type=image,name={where},push-by-digest=true,name-canonical=true,push=true"}
            steps += [meta(flow, name, image), build(name, image, ",".join(platforms), pushed)]
        made[job] = _job(flow, _runner(flow, platforms), steps)
    return made


def _merge(flow: Workflow) -> dict[str, Any]:
    steps = [buildx(), login(flow)]
    for name, image in flow.images.items():
        digests = [f"${{{{ needs.{job}.outputs.{name} }}}}" for job in legs(flow)]
        env = {
            "IMAGE": f"{flow.ci.registry}/{image.repository}",
            "DIGESTS": _lines(digests),
            "TAGS": f"${{{{ steps.{name}-meta.outputs.tags }}}}",
        }
        merge = {"name": f"Tag {name}, all platforms at once", "id": name, "shell": "sh", "env": env, "run": script("merge.sh")}
        steps += [meta(flow, name, image), merge, proof(name, f"${{{{ steps.{name}.outputs.digest }}}}")]
    return _job(flow, _runner(flow, ("linux/amd64",)), steps, needs=list(legs(flow)))


def _deploy(flow: Workflow, spec: CiDeploy) -> dict[str, Any]:
    refs = " || ".join(f"github.ref == 'refs/heads/{branch}'" for branch in spec.branches)
    run: Step = {"name": "Release what was published", "shell": "sh"}
    run["env"] = {name: f"${{{{ secrets.{name} }}}}" for name in ("GITHUB_TOKEN", *spec.secrets)}  # the first reads private images
    run["run"] = f".ci/inv deploy verify --blueprint {flow.blueprint} --env {spec.environment}\n"
    return {
        "needs": ["publish"],
        "if": refs,
        "runs-on": _runner(flow, ("linux/amd64",)),
        "timeout-minutes": spec.minutes,
        "environment": spec.environment,
        "concurrency": {"group": f"deploy-{flow.blueprint}-{spec.environment}", "cancel-in-progress": False},
        "permissions": {"contents": "read", "packages": "read"},
        "steps": [checkout(), run],
    }


def _job(flow: Workflow, runner: str, steps: list[Step], needs: list[str] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"needs": needs} if needs else {}
    found |= {"if": published_refs(flow), "runs-on": runner, "timeout-minutes": flow.ci.minutes}
    found["permissions"] = {"contents": "read", **({} if flow.ci.username else {"packages": "write"})}
    found["outputs"] = {name: f"${{{{ steps.{name}.outputs.digest }}}}" for name in flow.images}
    return found | {"steps": steps}


def published_refs(flow: Workflow) -> str:
    """The condition under which a job publishes. A run by hand does from every branch, if the policy gives it tags of its own: else it
    would move another branch's."""
    plain = [branch for branch in flow.ci.branches if not set("*?+![]") & set(branch)]
    if len(plain) < len(flow.ci.branches):
        return "github.ref_type == 'branch' || github.ref_type == 'tag'" if flow.ci.git_tags else "github.ref_type == 'branch'"
    refs = [f"github.ref == 'refs/heads/{branch}'" for branch in plain] + (["github.ref_type == 'tag'"] if flow.ci.git_tags else [])
    by_hand = ["github.event_name == 'workflow_dispatch' && github.ref_type == 'branch'"] if any_branch(flow) else []
    return " || ".join(refs + by_hand)


def any_branch(flow: Workflow) -> bool:
    """Whether the policy gives each branch tags, and none that another branch has too."""
    policy = tag_rules.parse(flow.rules)
    one, two = (set(tags(policy, Ref(digit * 40, branch)).names) for digit, branch in (("1", "one"), ("2", "two")))
    return bool(one) and not one & two


def prepared(flow: Workflow, platforms: tuple[str, ...]) -> list[Step]:
    """What comes before a build of `platforms`."""
    found = [checkout()]
    if len(platforms) > 1:
        found.append({"name": "Run other platforms by emulation", "uses": Verbatim(pinned("docker/setup-qemu-action"))})
    return [*found, buildx(), login(flow)]


def checkout() -> Step:
    return {"name": "Check the commit out", "uses": Verbatim(pinned("actions/checkout")), "with": {"persist-credentials": False}}


def buildx() -> Step:
    return {"name": "Set up Buildx", "uses": Verbatim(pinned("docker/setup-buildx-action"))}


def login(flow: Workflow) -> Step:
    ci = flow.ci
    named = [f"secrets.{ci.token}"] if ci.token else []
    user, secret = (f"secrets.{ci.username}", named) if ci.username else ("github.actor", [*named, "secrets.GITHUB_TOKEN"])
    given = {"registry": ci.registry, "username": f"${{{{ {user} }}}}", "password": f"${{{{ {' || '.join(secret)} }}}}"}
    return {"name": f"Log in to {flow.ci.registry}", "uses": Verbatim(pinned("docker/login-action")), "with": given}


def meta(flow: Workflow, name: str, image: CiImage) -> Step:
    """Tags and labels, worked out from the ref by the policy of the blueprint."""
    tags, flavor = tag_rules.action(tag_rules.parse(flow.rules))
    given = {"images": f"{flow.ci.registry}/{image.repository}", "flavor": _lines(flavor), "tags": _lines(tags)}
    return {"name": f"Tags and labels of {name}", "id": f"{name}-meta", "uses": Verbatim(pinned("docker/metadata-action")), "with": given}


def build(name: str, image: CiImage, platforms: str, pushed: dict[str, Any]) -> Step:
    """One image for `platforms`, pushed as `pushed` says. Its cache is its own, and each platform's."""
    scope = f"{name}-{platforms.replace('linux/', '').replace(',', '-').replace('/', '')}"
    given: dict[str, Any] = {"context": image.context}
    if image.dockerfile:
        given["file"] = image.dockerfile
    if image.target:
        given["target"] = image.target
    given |= {"platforms": platforms, **pushed, "labels": f"${{{{ steps.{name}-meta.outputs.labels }}}}"}
    if image.args:
        given["build-args"] = "".join(f"{key}={value}\n" for key, value in image.args.items())
    if image.secrets:
        given["secrets"] = "".join(f"{key}=${{{{ secrets.{source[4:]} }}}}\n" for key, source in image.secrets.items())
    given |= {"cache-from": f"type=gha,scope={scope}", "cache-to": f"type=gha,mode=max,scope={scope}"}
    given |= {"provenance": "mode=max", "sbom": True}
    return {"name": f"Build and push {name}", "id": name, "uses": Verbatim(pinned("docker/build-push-action")), "with": given}


def proof(name: str, digest: str) -> Step:
    env = {"TAGS": f"${{{{ steps.{name}-meta.outputs.tags }}}}", "DIGEST": digest}
    return {"name": f"Ask the registry what the tags of {name} are", "shell": "sh", "env": env, "run": script("proof.sh")}


def script(name: str) -> str:
    return (HERE / name).read_text()


def _lines(texts: list[str]) -> str:
    return texts[0] if len(texts) == 1 else "".join(f"{text}\n" for text in texts)


def _runner(flow: Workflow, platforms: tuple[str, ...]) -> str:
    return flow.ci.runners.get(platforms[0], "ubuntu-24.04")
