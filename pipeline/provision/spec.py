"""The blueprint's section `infra`: the options of its one driver."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Terraform:
    """A root module of Terraform or OpenTofu in `folder`, relative to the working copy.

    `variables` are its input variables, none of them a secret. `credentials` are environment variables with the source of a secret
    each; where the variable's name ends with _FILE, it gets the path of a private file that holds the secret, and a `file:` path is
    relative to the working copy. The state lies in `state` (default: a file in the user's own state folder, where no `git clean`
    reaches it), or, with `backend`, where the settings of the module's own backend say; those are no secrets either. An apply may
    take `deadline` seconds.
    """

    folder: str
    driver: Literal["terraform"] = "terraform"
    variables: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    credentials: Mapping[str, str] = field(default_factory=dict)
    backend: Mapping[str, str] = field(default_factory=dict)
    state: str = ""
    deadline: int = 3600

    def __post_init__(self) -> None:
        """Raises ValueError for what cannot be one of these."""
        if not self.folder or self.folder.startswith(("/", "-", "~")) or ".." in self.folder.split("/"):
            raise ValueError(f"folder {self.folder!r} is not a folder of the working copy, as terraform/rackspace-spot is")
        for what, names, grammar in (
            ("variable", self.variables, NAME),
            ("backend setting", self.backend, NAME),
            ("credential", self.credentials, VARIABLE),
        ):
            if wrong := [name for name in names if not grammar.fullmatch(name)]:
                raise ValueError(f"{wrong[0]!r} is not the name of a {what}")
        if own := [name for name in self.credentials if name.startswith(("TF_CLI", "TF_LOG", "TF_DATA", "LD_", "PATH"))]:
            raise ValueError(f"{own[0]} is no credential")
        if self.state and self.backend:
            raise ValueError("state names a file and backend another place: one of them")
        if not 60 <= self.deadline <= 86400:
            raise ValueError(f"deadline {self.deadline} is not between 60 and 86400 seconds")
