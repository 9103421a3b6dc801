"""Lockstep's programs, as the checks use them."""

import array
import base64
import contextlib
import json
import os
import pathlib
import subprocess
import tempfile
import time
import urllib.request

from harness.children import run_to_end
from harness.lockstep_server import LockstepServer

from gpu_check.outcome import Unmeasured, one_line


def remaining(deadline):
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise Unmeasured("its time was over")
    return seconds


class Programs:
    """The binaries of one directory; `environment` is what they need beside this process' own."""

    def __init__(self, directory, environment, logs):
        self.directory, self.logs = pathlib.Path(directory), pathlib.Path(logs)
        os.environ.update(environment)
        self._num_servers = 0

    def path(self, name):
        """Of a program or a test: a build has them apart, a pack together."""
        for path in (self.directory / name, self.directory.parent / "tests" / name):
            if path.exists():
                return path
        raise Unmeasured(f"{self.directory / name} is not there")

    @contextlib.contextmanager
    def serve(self, deadline, model, *options):
        """A server that is ready, stopped on leaving."""
        self._num_servers += 1
        command = [self.path("lockstep-server"), "--model", model, "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", *options]
        server = LockstepServer(list(map(str, command)), self.logs / f"server-{self._num_servers}.log", remaining(deadline))
        try:
            yield server
        finally:
            server.stop()

    def client(self, deadline, server, *arguments):
        command = [self.path("lockstep"), "--target", server.target, "--json", *arguments]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=remaining(deadline), check=False)
        if done.returncode != 0:
            raise RuntimeError(f"lockstep {arguments[0]} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
        return done.stdout

    def answer(self, deadline, server, question, num_tokens):
        """The ids of a greedy answer."""
        lines = self.client(deadline, server, "generate", "--chat", "--temperature", "0", "-n", num_tokens, question).splitlines()
        deltas = [entry["delta"] for entry in map(json.loads, lines) if "delta" in entry]
        return [token for delta in deltas for token in delta.get("token_ids", [])]

    def forward(self, deadline, server, prompts):
        """Seconds of the model's steps, and each prompt's last logits, as arrays of float32."""
        response = json.loads(self.client(deadline, server, "forward", *(",".join(map(str, prompt)) for prompt in prompts)))
        logits = [array.array("f", base64.b64decode(output["logits"])) for output in response["outputs"]]
        return float(response["duration"].rstrip("s")), logits

    def load(self, deadline, server, **options):
        """`lockstep bench serve`: the figures of its one run."""
        with tempfile.TemporaryDirectory() as directory:
            output = pathlib.Path(directory) / "run.json"
            flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
            self.client(deadline, server, "bench", "serve", *flags, "--output", output)
            return json.loads(output.read_text(encoding="utf-8"))["runs"][0]

    def num_steps(self, server):
        """That the server's model has taken so far."""
        with urllib.request.urlopen(f"http://{server.metrics}/metrics", timeout=10) as response:
            lines = response.read().decode().splitlines()
        return sum(int(float(line.rsplit(" ", 1)[1])) for line in lines if line.startswith("lockstep_step_duration_seconds_count"))

    def _run(self, deadline, name, command, stdout=None, statuses=(0,)):
        """Runs a command whose other output goes into the log of that name. Ends in time, with all that the command started."""
        log = self.logs / f"{name}.log"
        seconds = remaining(deadline)
        status = run_to_end(command, log, seconds, stdout)
        if status not in statuses:
            ended = f"had not ended after {seconds:.0f} s" if status is None else f"ended with {status}"
            last_line = (log.read_text(encoding="utf-8", errors="replace").splitlines() or ["nothing"])[-1]
            raise RuntimeError(f"{name} {ended}; its log ends with {one_line(last_line)}")

    def output(self, deadline, name, command=None):
        """What a program prints, or a command that is given a name."""
        path = self.logs / f"{name}.out"
        with open(path, "wb") as output:
            self._run(deadline, name, command or [self.path(name)], stdout=output)
        return path.read_text(encoding="utf-8")

    def tests(self, deadline, name, selection):
        """Runs a GoogleTest binary; (passed, failed, skipped)."""
        output = self.logs / f"{name}.json"
        output.unlink(missing_ok=True)
        self._run(deadline, name, [self.path(name), f"--gtest_filter={selection}", f"--gtest_output=json:{output}"], statuses=(0, 1))
        cases = [case for suite in json.loads(output.read_text(encoding="utf-8"))["testsuites"] for case in suite["testsuite"]]
        failed = [case["name"] for case in cases if case.get("failures")]
        skipped = sum(case["result"] == "SKIPPED" for case in cases)
        return len(cases) - len(failed) - skipped, failed, skipped
