"""Which files never travel, whatever git says: secrets by their usual names, and this pipeline's own folder."""

from __future__ import annotations

import posixpath
from fnmatch import fnmatchcase

NAMES = (".env", ".env.*", "id_rsa*", "id_ed25519*", "id_ecdsa*", "id_dsa*", "terraform.tfstate*")
HARMLESS = ("*.example", "*.sample", "*.template", "*.pub")
OWN = ".pipeline"


def refused(path: str, content: bytes = b"") -> bool:
    """Whether the file at `path` (with `/` between folders) has to stay. Of a `*.pem` the `content` decides: certificates may travel,
    private keys may not."""
    name = posixpath.basename(path)
    if path.split("/", 1)[0] == OWN:
        return True
    if name.endswith(".pem"):
        return b"PRIVATE KEY" in content
    return any(fnmatchcase(name, rule) for rule in NAMES) and not any(fnmatchcase(name, rule) for rule in HARMLESS)
