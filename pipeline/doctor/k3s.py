"""The fix of a k3s node that would ask a registry by HTTPS that speaks plain HTTP: its entry in registries.yaml."""

from __future__ import annotations

import time
from functools import partial

from pipeline.doctor.fix import Fix
from pipeline.errors import ConfigError, PipelineError, ResourceError
from pipeline.host import Cmd, Host
from pipeline.stage import Registry
from pipeline.tools import crictl, goyaml

LIMIT = 120.0  # seconds that k3s may take to start again
READ = 'test ! -e "$1" || cat -- "$1"'
# the new file comes on stdin; what was there is kept beside it
WRITE = """set -e
umask 077
if [ -e "$1" ]; then cp -p -- "$1" "$1.$2"; fi
cat >"$1.new"
mv -- "$1.new" "$1"
for unit in k3s k3s-agent; do
	if systemctl is-active --quiet "$unit"; then systemctl restart "$unit"; fi
done"""


def plain_http(host: Host, of: Registry, folder: str) -> Fix:
    """What has the node at `host` ask the registry by HTTP. Nothing is asked or written before it is carried out."""
    file = f"{folder}/registries.yaml"
    does = f"on {host.name}: {of.address} by plain HTTP in {file} (the old one stays beside it), then k3s is restarted (pods run on)"
    return Fix(does, partial(_write, host, of, file))


def _write(host: Host, of: Registry, file: str) -> None:
    read = host.run(Cmd(("sh", "-c", READ, "read", file), secret=True))
    if not read.ok:
        raise ConfigError(f"{file} cannot be read on {host.name}", cause=read.errors, mend=crictl.plain_http(of.address))
    text = read.stdout.decode(errors="replace")
    new = with_mirror(text, of.address)
    if new == text:
        return
    stamp = time.strftime("before-%Y%m%d-%H%M%S", time.gmtime())
    done = host.run(Cmd(("sh", "-c", WRITE, "write", file, stamp), stdin=new.encode(), secret=True, timeout=LIMIT))
    if not done.ok:
        raise ResourceError(
            f"{file} on {host.name} was not written, or k3s did not restart",
            cause=done.tail(),
            mend=f"look on {host.name}: systemctl status k3s",
        )


def with_mirror(text: str, address: str) -> str:
    """`text` of a registries.yaml with an endpoint of plain HTTP for the registry at `address`; every other byte stays.

    Raises ConfigError if the registry has another endpoint there already, or if the file is not written as files of k3s are.
    """
    wanted = [f"http://{address}"]
    before = _read(text)
    mirrors = before.get("mirrors") or {}
    if not isinstance(mirrors, dict) or (address in mirrors and mirrors[address] != {"endpoint": wanted}):
        raise ConfigError(f"registries.yaml says something else of {address} already", mend=crictl.plain_http(address))
    if address in mirrors:
        return text
    entry = [f'"{address}":', "  endpoint:", f'    - "{wanted[0]}"']
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    at = next((number for number, line in enumerate(lines) if line.split("#")[0].rstrip() == "mirrors:"), None)
    if at is None:
        new = "".join([*lines, "mirrors:\n", *(f"  {line}\n" for line in entry)])
    else:
        first = next((line for line in lines[at + 1 :] if line.strip() and not line.lstrip().startswith("#")), "")
        indent = first[: len(first) - len(first.lstrip())] if mirrors else "  "
        new = "".join([*lines[: at + 1], *(f"{indent}{line}\n" for line in entry), *lines[at + 1 :]])
    try:
        whole = _read(new) == {**before, "mirrors": {**mirrors, address: {"endpoint": wanted}}}
    except PipelineError:
        whole = False
    if not whole:
        raise ConfigError("registries.yaml is written in a way that nothing is put into it unseen", mend=crictl.plain_http(address))
    return new


def _read(text: str) -> dict[str, object]:
    found = goyaml.values(text, "registries.yaml")
    data = found[0] if found else {}
    if len(found) > 1 or not isinstance(data or {}, dict):
        raise ConfigError("registries.yaml is no mapping", mend="correct it first")
    return data or {}
