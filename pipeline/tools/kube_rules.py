"""What the Kubernetes API says through helm, kubectl and kubecfg alike. Messages are those of Kubernetes 1.34 and client-go."""

from __future__ import annotations

from pipeline.errors import Ambiguous, AuthError, ConfigError, Expired, ResourceError, Transient
from pipeline.tools import kube_login
from pipeline.tools.meanings import LOST, NO_NAME, UNTRUSTED, Rule, request

ASKED = request("(?:/(?:api|apis|openapi|version|healthz|readyz|livez)|/k8s/clusters/)")
REFUSED = r'[\w.-]+(?: "[^"]*")? is forbidden: '
INVALID = r'(?:The )?[\w.-]+ "[^"]*" is invalid: '
HOOKS = "kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations"
FULL = "raise the quota that the cause names, or free some of it: kubectl describe resourcequota"
CORRECT = "correct what the cause names"


# The first that fits counts. What an admission rule says of an object is its author's text, so its rules come first
ADMISSION: tuple[Rule, ...] = (
    Rule(r'admission webhook "(?P<hook>[^"]+)" denied the request', ConfigError, "the admission webhook {hook} refuses an object", CORRECT),
    Rule(
        r"ValidatingAdmissionPolicy '(?P<policy>[^']+)' with binding '[^']*' denied request",
        ConfigError,
        "the admission policy {policy} refuses an object",
        CORRECT,
    ),
    Rule(
        r'failed calling webhook "(?P<hook>[^"]+)"',
        Expired,  # the API server has waited for it already, and each further try would leave a failed revision
        "the admission webhook {hook} does not answer",
        f"look at the pods behind it, which {HOOKS} names",
    ),
    Rule(
        r"conversion webhook for (?P<kind>[^\n]+?, Kind=\w+) failed: ",
        Expired,
        "the conversion webhook for {kind} fails",
        "look at the pods behind it, which kubectl describe crd names under `conversion`",
    ),
)
OBJECTS: tuple[Rule, ...] = (
    Rule(REFUSED + r"unable to create new content in namespace (?P<name>\S+) because it is being terminated",
         ConfigError, "the namespace {name} is being deleted", "wait until it is gone, then run again"),
    Rule(REFUSED + r"exceeded quota: (?P<quota>[^,\n]*)", ResourceError, "quota {quota} of the namespace is used up", FULL),
    Rule(REFUSED + r'User "[^"]*" cannot [a-z]+ resource', kube_login.forbidden, "the Kubernetes API forbids what is needed",
         "grant this user what the cause names"),
    Rule(REFUSED, ConfigError, "a rule of the cluster refuses an object", CORRECT),
    Rule(INVALID + r"[^\n]*Too long: (?:must have|may not be more than) (?:at most )?\d+",
         ConfigError, "an object is larger than Kubernetes keeps one", "give large files to the image, or to a volume"),
    Rule(INVALID + r"[^\n]*(?:field is immutable|is immutable after creation|can not be unset|may not change once set"
         r"|updates to \w+ spec for fields other than )",
         ConfigError, "a field is changed that cannot change", "rename the object; or delete it first, if nothing is lost with it"),
    Rule(r'namespaces? "(?P<name>[^"]*)" not found', ConfigError, "the namespace {name} does not exist",
         "make it, or set `create_namespace: true` in the deploy stage"),
    Rule(r'no matches for kind "(?P<kind>[^"]*)" in version "(?P<version>[^"]*)"',
         ConfigError, "the cluster does not know the kind {kind} in {version}", "install its CRDs first, or leave that object out"),
    Rule(r'Operation cannot be fulfilled on [\w.-]+ "[^"]*": the object has been modified',
         Ambiguous, "somebody else changed an object in the same moment", "run again; if it lasts, see who does: --show-managed-fields"),
    Rule(r"Apply failed with \d+ conflicts?", ConfigError, "a field belongs to another field manager",
         "take the edit back, or let the other manager go"),
    Rule(r"(?:failed to create typed patch object|strict decoding error|error validating data: (?:ValidationError|\[?unknown)|"
         r"unknown field )", ConfigError, "an object holds a field that is not known", CORRECT),
    Rule(INVALID + r'|[\w.-]+ in version "[^"]*" cannot be handled as ',
         ConfigError, "the cluster refuses an object", CORRECT),
)  # fmt: skip
CONNECTION: tuple[Rule, ...] = (
    Rule(r"unable to retrieve the complete list of server APIs: (?P<api>[\w.-]+/\w+): ", Expired,
         "the API {api} of the cluster does not answer", "kubectl get apiservices names the Service behind it: look at its pods"),
    Rule(r"getting credentials: ", AuthError, "the kubeconfig's plugin gives no credentials",
         "run it by hand: the cause names it"),
    Rule(r"(?:the server has asked for the client to provide credentials|You must be logged in to the server|Unauthorized$)",
         AuthError, "the Kubernetes API does not know these credentials", "renew the kubeconfig of this cluster"),
    Rule(ASKED + UNTRUSTED, ConfigError, "the certificate of the Kubernetes API is not one that the kubeconfig trusts",
         "correct `server` or `certificate-authority-data` in the kubeconfig; if both are right, compare the clocks"),
    Rule(ASKED + NO_NAME, ConfigError, "the Kubernetes API's host has no address", "correct `server` in the kubeconfig"),
    Rule(rf"(?:{ASKED}|Unable to connect to the server: |(?:dial|read|write) tcp \S+: ){LOST}", Transient,
         "the Kubernetes API does not answer", "look whether it is up and reachable from here"),
    Rule(r"(?:http2: client connection lost|The connection to the server \S+ was refused)", Transient, "the Kubernetes API does not answer",
         "look whether it is up and reachable from here"),
    Rule(r"(?:etcdserver: |raft proposal dropped|Internal error occurred: |the server was unable to return a response"
         r"|the server is currently unable to handle the request|the server has received too many requests"
         r"|Timeout: request did not complete)", Ambiguous, "the Kubernetes API failed in the middle",
         "look at its log, and at etcd's disk"),
)  # fmt: skip
RULES = ADMISSION + OBJECTS + CONNECTION
