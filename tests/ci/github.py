"""GitHub's REST API as far as `gh run` asks it, for the real gh: it takes plain HTTP to github.localhost, and this is its proxy.

Shapes: https://docs.github.com/rest/actions/workflow-runs, with the fields that gh reads.
"""

from __future__ import annotations

import io
import json
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

BASE = "http://api.github.localhost/repos/owner/relay/actions"
TOKEN = "a-token-that-may-read"
JOB = {"relay": ("Check the commit out", "Set up Buildx", "Log in to ghcr.io", "Build and push relay")}


def steps(done: int, failed: str = "") -> list[dict[str, Any]]:
    """The job's steps when `done` of them have ended; `failed` names the one that did not end well."""
    found = []
    for number, name in enumerate(("Set up job", *JOB["relay"]), 1):
        ended = number <= done
        conclusion = None if not ended else "failure" if name == failed else "success"
        status = "completed" if ended else "in_progress" if number == done + 1 else "queued"
        found.append({"name": name, "number": number, "status": status, "conclusion": conclusion})
    return found


@dataclass
class Run:
    """A workflow run that goes one state further each time it is asked for: (status, conclusion, steps done, failed step)."""

    id: int
    commit: str
    states: list[tuple[str, str | None, int, str]]
    branch: str = "main"
    created: str = "2026-11-21T12:00:00Z"

    def now(self) -> tuple[str, str | None, int, str]:
        return self.states[0]

    def further(self) -> None:
        if len(self.states) > 1:
            self.states.pop(0)

    def json(self) -> dict[str, Any]:
        status, conclusion, _, _ = self.now()
        return {
            "id": self.id, "name": "docker-publish", "display_title": "a commit", "head_branch": self.branch, "head_sha": self.commit,
            "run_number": 7, "run_attempt": 1, "event": "push", "status": status, "conclusion": conclusion, "workflow_id": 11,
            "html_url": f"https://github.localhost/owner/relay/actions/runs/{self.id}", "created_at": self.created,
            "updated_at": self.created, "run_started_at": self.created, "jobs_url": f"{BASE}/runs/{self.id}/jobs",
            "url": f"{BASE}/runs/{self.id}", "logs_url": f"{BASE}/runs/{self.id}/logs", "head_commit": {"message": "a commit"},
            "head_repository": {"name": "relay", "owner": {"login": "owner"}},
        }  # fmt: skip

    def jobs(self) -> list[dict[str, Any]]:
        status, conclusion, done, failed = self.now()
        if status == "queued":
            return []
        return [
            {
                "id": self.id * 10, "name": "publish", "status": status, "conclusion": conclusion, "started_at": self.created,
                "completed_at": self.created if conclusion else None, "steps": steps(done, failed),
                "html_url": f"https://github.localhost/owner/relay/actions/runs/{self.id}/job/1", "url": f"{BASE}/jobs/1",
            }
        ]  # fmt: skip

    def log(self) -> bytes:
        body = io.BytesIO()
        with zipfile.ZipFile(body, "w") as archive:
            for step in self.jobs()[0]["steps"]:
                lines = [f"2026-11-21T12:00:0{number}.1234567Z line {number} of {step['name']}" for number in range(3)]
                lines += ["2026-11-21T12:00:09.0000000Z ##[error]denied: permission_denied"] if step["conclusion"] == "failure" else []
                archive.writestr(f"publish/{step['number']}_{step['name'].replace('/', '')}.txt", "\n".join(lines) + "\n")
        return body.getvalue()


@dataclass
class Github:
    """The service: its `runs`, and `faults` that answer the next requests instead (status, headers, body; status 0 cuts the line)."""

    runs: list[Run] = field(default_factory=list)
    faults: list[tuple[int, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    limit_reset: int = 0
    address: str = ""

    def env(self, home: str) -> dict[str, str]:
        """The environment in which gh asks this service and nobody else."""
        proxy = f"http://{self.address}"
        return {
            "GH_HOST": "github.localhost", "GH_TOKEN": TOKEN, "GH_ENTERPRISE_TOKEN": TOKEN, "HTTP_PROXY": proxy, "http_proxy": proxy,
            "HTTPS_PROXY": proxy, "https_proxy": proxy, "NO_PROXY": "", "no_proxy": "", "HOME": home, "GH_CONFIG_DIR": f"{home}/gh",
        }  # fmt: skip

    def answer(self, path: str, query: dict[str, list[str]], token: str) -> tuple[int, dict[str, str], bytes]:
        if token != f"token {TOKEN}":
            return said(401, {"message": "Bad credentials", "documentation_url": "https://docs.github.com/rest"})
        if path == "/rate_limit":
            return said(200, {"resources": {"core": {"limit": 5000, "remaining": 0, "reset": self.limit_reset}}})
        inside = path.removeprefix("/repos/owner/relay/actions/")
        match inside.split("/"):
            case ["runs"] | ["workflows", _, "runs"]:
                branch = query.get("branch", [""])[0]
                runs = [run.json() for run in reversed(self.runs) if not branch or run.branch == branch]
                return said(200, {"total_count": len(runs), "workflow_runs": runs})
            case ["workflows"]:
                return said(200, {"total_count": 1, "workflows": [WORKFLOW]})
            case ["workflows", "11" | "docker-publish.yml"]:
                return said(200, WORKFLOW)
            case ["runs", number, *rest] if found := next((run for run in self.runs if str(run.id) == number), None):
                if rest == ["jobs"]:
                    jobs = found.jobs()
                    found.further()
                    return said(200, {"total_count": len(jobs), "jobs": jobs})
                if rest == ["logs"]:
                    return 200, {"Content-Type": "application/zip"}, found.log()
                return said(200, found.json())
        return said(404, {"message": "Not Found", "documentation_url": "https://docs.github.com/rest"})


WORKFLOW = {"id": 11, "name": "docker-publish", "path": ".github/workflows/docker-publish.yml", "state": "active"}


def said(status: int, value: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/json; charset=utf-8"}, json.dumps(value).encode()


@contextmanager
def serving(github: Github) -> Iterator[Github]:
    """`github` on a loopback address of its own while it lasts."""

    class Handler(BaseHTTPRequestHandler):
        service: ClassVar[Github] = github

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            self.service.asked.append(parts.path)
            if self.service.faults:
                status, headers, value = self.service.faults.pop(0)
                if not status:
                    self.close_connection = True
                    return
                status, own, body = said(status, value)
                headers = {**own, **headers}
            else:
                status, headers, body = self.service.answer(parts.path, parse_qs(parts.query), self.headers.get("Authorization", ""))
            self.send_response(status)
            for name, text in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    github.address = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield github
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
