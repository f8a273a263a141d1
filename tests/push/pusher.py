"""A pusher in Python in place of skopeo: it does with the relay what skopeo does, so that the driver can be tested without one."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import json
import tarfile
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from pipeline.host import Cmd, Output

TYPE = "application/vnd.docker.distribution.manifest.v2+json"


@dataclass
class Pusher:
    """Answers the driver's command as skopeo.sh would. `uploads` lists the blobs it sent."""

    uploads: list[str] = field(default_factory=list)
    commands: list[Cmd] = field(default_factory=list)

    def __call__(self, cmd: Cmd) -> Output:
        self.commands.append(cmd)
        _, _, _, _, _, archive, door, name, image, *_ = cmd.argv
        repository, _, tag = image.rpartition(":")
        auth = json.loads(cmd.stdin)["auths"][name]["auth"]
        link = Link(door, auth)
        with tarfile.open(archive) as tar:
            files = {member.name: tar.extractfile(member).read() for member in tar.getmembers()}  # type: ignore[union-attr]
        parts = json.loads(files["manifest.json"])[0]
        described = []
        for path in [parts["Config"], *parts["Layers"]]:
            content = files[path] if path == parts["Config"] else gzip.compress(files[path], mtime=0)
            digest = "sha256:" + hashlib.sha256(content).hexdigest()
            status = self._blob(link, repository, digest, content)
            if status >= 300:
                return Output(1, b"", f"writing blob: received unexpected HTTP status: {status}".encode())
            described.append({"digest": digest, "size": len(content)})
        manifest = json.dumps({"schemaVersion": 2, "mediaType": TYPE, "config": described[0], "layers": described[1:]}).encode()
        status, _ = link.ask("PUT", f"/v2/{repository}/manifests/{tag}", manifest, {"Content-Type": TYPE})
        if status >= 300:
            return Output(1, b"", f"writing manifest: received unexpected HTTP status: {status}".encode())
        return Output(0, b"sha256:" + hashlib.sha256(manifest).hexdigest().encode() + b"\n")

    def _blob(self, link: Link, repository: str, digest: str, content: bytes) -> int:
        if link.ask("HEAD", f"/v2/{repository}/blobs/{digest}")[0] == 200:
            return 200
        status, location = link.ask("POST", f"/v2/{repository}/blobs/uploads/")
        if status >= 300:
            return status
        status, location = link.ask("PATCH", location, content, chunked=True)
        if status >= 300:
            return status
        status, _ = link.ask("PUT", f"{location}&digest={digest}")
        if status < 300:
            self.uploads.append(digest)
        return status


@dataclass(frozen=True)
class Link:
    """Requests to the relay, one connection each, as skopeo 1.9 does."""

    door: str
    auth: str

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None, *, chunked: bool = False
    ) -> tuple[int, str]:
        """Status and Location; 599 where the connection broke."""
        connection = http.client.HTTPConnection(self.door, timeout=10)
        pieces = (body[start : start + 10_000] for start in range(0, len(body), 10_000))
        sent = {"Authorization": f"Basic {self.auth}", **(headers or {}), **({"Transfer-Encoding": "chunked"} if chunked else {})}
        try:
            connection.request(method, path, pieces if chunked else body, sent, encode_chunked=chunked)
            response = connection.getresponse()
            response.read()
            location = urlsplit(response.getheader("Location", ""))
            assert not location.netloc
            return response.status, location.path + (f"?{location.query}" if location.query else "")
        except (OSError, http.client.HTTPException):
            return 599, ""
        finally:
            connection.close()


def basic(user: str, password: str) -> str:
    """The value of an authfile's `auth`."""
    return base64.b64encode(f"{user}:{password}".encode()).decode()
