"""Tags and labels of one image, worked out by pipeline/tools/tags.py, as the outputs of docker/metadata-action."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pipeline.tools import tag_rules
from pipeline.tools.tags import Ref, labels, tags


def main() -> None:
    ref, image = os.environ["GITHUB_REF"], os.environ["IMAGE"]
    policy = tag_rules.parse(json.loads(os.environ["LAB_RULES"]))
    wanted = tag_rules.action(policy)[0]
    enabled = [line.partition(",enable=")[0] for line in os.environ["LINES"].splitlines()]
    if enabled != [line.partition(",enable=")[0] for line in wanted]:  # the conditions were worked out by whoever ran this
        raise SystemExit(f"the workflow asks for other tags: {enabled}")
    named = (ref.removeprefix("refs/tags/"),) if ref.startswith("refs/tags/") else ()
    branch = ref.removeprefix("refs/heads/") if ref.startswith("refs/heads/") else ""
    facts = Ref(os.environ["GITHUB_SHA"], branch, named)
    given = tags(policy, facts)
    with Path(os.environ["GITHUB_OUTPUT"]).open("a") as out:
        out.write("tags<<END\n" + "".join(f"{image}:{name}\n" for name in given.names) + "END\n")
        out.write("labels<<END\n" + "".join(f"{key}={value}\n" for key, value in labels(given, facts).items()) + "END\n")


if __name__ == "__main__":
    main()
