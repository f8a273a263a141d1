"""One build by Buildx, from the inputs of docker/build-push-action; its digest as that action's output."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path


def argv(given: dict[str, str], report: str) -> list[str]:
    """The words of the build. Secrets are read from the environment that the caller makes of them."""
    words = [
        "docker",
        "buildx",
        "build",
        "--builder",
        "lab",
        "--metadata-file",
        report,
        "--platform",
        given["platforms"],
        f"--attest=type=provenance,{given['provenance']}",
    ]
    words += [f"--file={given['file']}"] if given["file"] else []
    words += [f"--target={given['target']}"] if given["target"] else []
    words += ["--push"] if given["push"] == "true" else []
    words += [f"--output={given['outputs']}"] if given["outputs"] else []
    for option, name in (("--tag", "tags"), ("--label", "labels"), ("--build-arg", "build-args")):
        words += [f"{option}={line}" for line in given[name].splitlines() if line]
    words += [f"--secret=id={line.partition('=')[0]}" for line in given["secrets"].splitlines() if line]
    return [*words, "--", given["context"]]


def main() -> None:
    given = json.loads(os.environ["INPUTS"])
    secrets = dict(line.split("=", 1) for line in given["secrets"].splitlines() if line)
    with tempfile.NamedTemporaryFile() as report:
        subprocess.run(argv(given, report.name), check=True, env={**os.environ, **secrets})
        digest = json.loads(Path(report.name).read_text())["containerimage.digest"]
    with Path(os.environ["GITHUB_OUTPUT"]).open("a") as out:
        out.write(f"digest={digest}\n")


if __name__ == "__main__":
    main()
