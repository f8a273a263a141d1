"""An application of a test's own on the lab's build host, and the lab's door with a faulty line in front of it."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

from pipeline.events import Event
from pipeline.host import Address, Cmd
from pipeline.host.ssh import SshHost
from pipeline.records import Records
from pipeline.stage import Site
from pipeline.testing import FaultProxy
from tests.source.worktree import Worktree

HOST = "haskelseed"
FLAKE = r"""{
  outputs = { self }: let
    run = name: script: derivation {
      inherit name;
      system = "x86_64-linux";
      builder = "/bin/sh";
      PATH = "/usr/bin:/bin";
      text = builtins.readFile ./text;
      args = [ "-euc" script ];
    };
  in {
    packages.x86_64-linux = {
      docker = run "image.tar" ''
        mkdir root && printf %s "$text" > root/text
        tar -c -f layer.tar --sort=name --owner=0 --group=0 --mtime=@1 -C root .
        id=$(sha256sum layer.tar | cut -d ' ' -f 1)
        printf '{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' "$id" > config
        digest=$(sha256sum config | cut -d ' ' -f 1)
        mv config "$digest.json" && mkdir "$id" && mv layer.tar "$id/layer.tar"
        printf '[{"Config":"%s.json","RepoTags":["t:1"],"Layers":["%s/layer.tar"]}]' "$digest" "$id" > manifest.json
        tar -c -f "$out" --sort=name --owner=0 --group=0 --mtime=@1 manifest.json "$digest.json" "$id"
      '';
      slow = run "slow" ''echo "begun $text"; sleep 4; echo "nearly done"; echo x > "$out"'';
      hangs = run "hangs" ''echo "begun $text"; sleep 98765'';
      fails = run "fails" ''for n in 1 2 3 4 5 6 7 8 9 10 11 12; do echo "line $n $text"; done; exit 3'';
      killed = run "killed" ''echo "$text"; kill -9 $$'';
      loud = run "loud" ''echo "$text"; yes 0123456789012345678901234567890123456789 | head -c 3000000; exit 4'';
      fixed = derivation {
        name = "fixed"; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "echo $text > $out" ];
        text = builtins.readFile ./text; outputHashMode = "flat"; outputHashAlgo = "sha256"; outputHash = builtins.hashString "sha256" "x";
      };
    };
  };
}
"""


def worktree(path: Path) -> Worktree:
    """A working copy whose flake builds in a moment; `text` makes it one that nobody built before."""
    work = Worktree(path)
    work.write("flake.nix", FLAKE)
    work.write(".gitignore", ".pipeline/\n")
    work.write("text", uuid.uuid4().hex)
    work.commit()
    return work


@contextlib.contextmanager
def workshop(lab: Site, work: Worktree, events: list[Event], host: SshHost | None = None) -> Iterator[Site]:
    """The lab's site for an application of its own; what it left on the build host is removed in the end."""
    app = f"t-{uuid.uuid4().hex[:12]}"
    hosts = {HOST: host} if host else lab.hosts
    records = Records(work.path / ".pipeline" / "records.db")
    try:
        yield dataclasses.replace(lab, app=app, root=work.path, hosts=hosts, records=records, sink=events.append, shared={})
    finally:
        records.close()
        machine = lab.host(HOST)
        machine.run(Cmd(("rm", "-rf", "--", f"{machine.state}/{app}")))
        if host:
            host.close()


@contextlib.contextmanager
def faulty_line(site_file: Path, folder: Path) -> Iterator[tuple[FaultProxy, SshHost]]:
    """The build host behind a proxy that misbehaves on order."""
    from pipeline.plan import read_site

    spec = read_site(site_file).hosts[HOST]
    with FaultProxy(Address(spec.address, spec.port)) as proxy:
        # the same keys under the proxy's address
        keys = re.sub(
            rf"^\[{re.escape(spec.address)}\]:{spec.port} ",
            f"[{proxy.address.host}]:{proxy.address.port} ",
            Path(spec.known_hosts).read_text(),
            flags=re.MULTILINE,
        )
        known = folder / "known_hosts"
        known.write_text(keys)
        host = SshHost(HOST, proxy.address.host, proxy.address.port, spec.user, spec.identity_file, str(known), spec.state, interval=3.0)
        try:
            yield proxy, host
        finally:
            host.close()
