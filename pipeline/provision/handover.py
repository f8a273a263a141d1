"""A kubeconfig that is an output of the infrastructure: in a private file outside the working copy, for as long as the process lives."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import AuthError, ConfigError
from pipeline.provision.root import Root
from pipeline.provision.terraform import outputs, when
from pipeline.tools import goyaml, private
from pipeline.tools.kube_login import end_of
from pipeline.tools.terraform_plan import Out

RENEW = "inv infra.plan, then inv infra.apply: the outputs get new credentials"


class Handover:
    """Gives kubeconfigs by the output's name, each fetched when it is first asked for."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._folder: Path | None = None
        self._outputs: dict[str, Out] = {}
        self._files: dict[str, str] = {}
        self._lock = threading.Lock()

    def kubeconfig(self, output: str) -> str:
        """The path of the file (mode 600).

        Raises ConfigError where nothing was applied yet or the output is not a kubeconfig, AuthError where its token has expired.
        """
        with self._lock:  # stages are looked at side by side
            if output not in self._files:
                self._files[output] = self._fetched(output)
            return self._files[output]

    def close(self) -> None:
        """Take the files away."""
        if self._folder:
            private.remove(self._folder)
        self._folder, self._files, self._outputs = None, {}, {}

    def _fetched(self, output: str) -> str:
        self._outputs = self._outputs or outputs(self._root)
        if output not in self._outputs:
            known = ", ".join(sorted(self._outputs))
            raise ConfigError(f"{self._root.name} has no output {output!r}", mend=f"its outputs are: {known}")
        text = self._outputs[output].text
        for secret in _secrets(text, output):
            self._root.site.secrets.guard(secret)
            if (ends := end_of(secret)) and ends <= time.time():
                raise AuthError(f"the token in output {output} of {self._root.name} expired at {when(ends)}", mend=RENEW)
        if self._folder is None:
            self._folder = private.folder()
        private.write(self._folder / output, text)
        return str(self._folder / output)


def _secrets(text: str, output: str) -> Iterator[str]:
    """The credentials in a kubeconfig. Raises ConfigError where it is none."""
    try:
        config = goyaml.values(text, output)[0]
        users: list[Any] = [each["user"] for each in config["users"]]
    except (ConfigError, KeyError, TypeError, IndexError):
        raise ConfigError(
            f"output {output} is not a kubeconfig", mend="name an output that is one, as YAML"
        ) from None  # the cause is secret
    for user in users:
        for name in ("token", "client-key-data", "password"):
            if isinstance(user, dict) and user.get(name):
                yield str(user[name])
