"""The lab's secrets and its certificate authority: made once per lab, 0600, never outside its state folder."""

from __future__ import annotations

import base64
import datetime
import hashlib
import ipaddress
import secrets
from typing import TYPE_CHECKING

from pipeline.errors import PipelineError
from pipeline.lab import local
from pipeline.lab.layout import API, NODE, NODE_SSH, Lab, write

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

SERVICE_NETWORK, POD_NETWORK = "10.96.0.0/16", "10.244.0.0/24"  # inside the node's own network: no lab sees another's
CLIENTS = {  # file name: (user, group) as RBAC knows them
    "admin": ("admin", "system:masters"),
    "controllers": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "proxy": ("system:kube-proxy", ""),
    "kubelet": (f"system:node:{NODE}", "system:nodes"),
}


def secret(lab: Lab, name: str, value: str = "") -> str:
    """The secret in file `name` of the state folder, made (or set to `value`) where there is none yet."""
    path = lab.state / name
    if not path.exists():
        write(path, value or secrets.token_urlsafe(24), 0o600)
    return path.read_text()


def random_base64(count: int = 32) -> str:
    """`count` random bytes in base64."""
    return base64.b64encode(secrets.token_bytes(count)).decode()


def ssh_key(path: Path, comment: str) -> str:
    """An ed25519 key pair at `path` and `path`.pub, made where there is none; gives the public line. Raises PipelineError."""
    if not path.exists():
        done = local.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path))
        if done.returncode:
            raise PipelineError(f"no SSH key could be made at {path}", cause=done.stderr)
    return path.with_name(path.name + ".pub").read_text().strip()


def ssh_keys(lab: Lab) -> None:
    """The lab's client key, one host key per SSH server, and the known_hosts file that lists them."""
    ssh_key(lab.state / "client_key", "pipeline-lab")
    servers = {"haskelseed": (lab.host, lab.ssh), "gitea": (lab.host, lab.git), "node": (lab.address, NODE_SSH)}
    lines = []
    for name, (address, port) in servers.items():
        public = ssh_key(lab.state / "etc" / f"{name}_host_key", name).split()
        lines.append(f"[{address}]:{port} {public[0]} {public[1]}\n")
    write(lab.state / "known_hosts", "".join(lines))


def certificates(lab: Lab) -> None:
    """The cluster's authority, its server certificate, one client certificate per component, the key that signs service accounts."""
    folder = lab.state / "pki"
    if (folder / "complete").exists():
        return
    folder.mkdir(mode=0o700, exist_ok=True)
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = _sign("pipeline-lab " + lab.id, "", ca_key, None, None, ())
    _store(folder / "ca", ca_key, ca)
    service = str(ipaddress.ip_network(SERVICE_NETWORK)[1])
    names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(text)) for text in (lab.address, service, "127.0.0.1")]
    names += [x509.DNSName(text) for text in (NODE, "kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost")]
    for name, (user, group) in {"server": ("kube-apiserver", ""), **CLIENTS}.items():
        key = ec.generate_private_key(ec.SECP256R1())
        _store(folder / name, key, _sign(user, group, key, ca, ca_key, names if name in ("server", "kubelet") else ()))
    _store(folder / "accounts", ec.generate_private_key(ec.SECP256R1()), None)
    for name in CLIENTS:
        _kubeconfig(lab, name)
    write(lab.state / "kubeconfig", (folder / "admin.kubeconfig").read_text(), 0o600)
    (folder / "complete").touch()


def signing_key(path: Path) -> None:
    """A key and its own certificate at `path`.key and `path`.crt, made where there is none."""
    if path.with_name(path.name + ".crt").exists():
        return
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    _store(path, key, _sign("pipeline-lab tokens", "", key, None, None, ()))


def ca_identity(lab: Lab) -> str:
    """The cluster's identity: `sha256:` and the hash of its authority's certificate (DER)."""
    body = "".join(line for line in (lab.state / "pki" / "ca.crt").read_text().splitlines() if not line.startswith("-----"))
    return "sha256:" + hashlib.sha256(base64.b64decode(body)).hexdigest()


def _sign(
    user: str, group: str, key: EllipticCurvePrivateKey, issuer: x509.Certificate | None, signer: EllipticCurvePrivateKey | None,
    names: Sequence[x509.GeneralName],
) -> x509.Certificate:  # fmt: skip
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import NameOID

    parts = [x509.NameAttribute(NameOID.COMMON_NAME, user)]
    if group:
        parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
    subject, now = x509.Name(parts), datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=365))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signer or key, hashes.SHA256())


def _store(path: Path, key: EllipticCurvePrivateKey, certificate: x509.Certificate | None) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    write(path.with_name(path.name + ".key"), pem, 0o600)
    if certificate:
        write(path.with_name(path.name + ".crt"), certificate.public_bytes(Encoding.PEM).decode())


def _kubeconfig(lab: Lab, name: str) -> None:
    def inline(file: str) -> str:
        return base64.b64encode((lab.state / "pki" / file).read_bytes()).decode()

    text = f"""apiVersion: v1
kind: Config
clusters:
- name: lab
  cluster: {{server: "https://{lab.address}:{API}", certificate-authority-data: {inline("ca.crt")}}}
users:
- name: {name}
  user: {{client-certificate-data: {inline(name + ".crt")}, client-key-data: {inline(name + ".key")}}}
contexts:
- name: lab
  context: {{cluster: lab, user: {name}}}
current-context: lab
"""
    write(lab.state / "pki" / f"{name}.kubeconfig", text, 0o600)
