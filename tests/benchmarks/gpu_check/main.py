"""Proves Lockstep on a GPU machine, or, with --device cpu, that this check itself works.

See scripts/gpu-check. Ends with 1 when a check failed.
"""

import argparse
import glob
import importlib.util
import json
import pathlib
import subprocess
import sys
import tempfile

from harness import machine
from harness.children import BenchmarkError
from harness.progress import say

from gpu_check import checks, report
from gpu_check.lockstep import Programs
from gpu_check.outcome import FAILED, Checks, Unmeasured

REPOSITORY = pathlib.Path(__file__).parents[3]
DEMO_MODEL = REPOSITORY / "deploy/demo_model/model"
TEST_BINARIES = ["worker_device_test", "cuda_kernels_test", "device_sampling_test", "worker_comm_test"]


def library_path(binaries):
    """Where a machine with PyTorch has its libraries, behind those that were carried along."""
    spec = importlib.util.find_spec("torch")
    torch = [pathlib.Path(spec.origin).parent / "lib"] if spec and spec.origin else []
    packages = [glob.glob(str(path.parents[1] / "nvidia" / "*" / "lib")) for path in torch]
    return ":".join(map(str, [binaries.parent / "lib", *torch, *sum(packages, [])]))


class Peer:
    """transformers, where this machine has it."""

    def __init__(self, model, dtype, available):
        self.model, self.dtype, self.available, self.seconds = model, dtype, available, {}

    def _run(self, kind, detail, seconds):
        if not self.available:
            raise Unmeasured("transformers and PyTorch are not there")
        done = subprocess.run([sys.executable, "-m", "gpu_check.transformers_peer", kind, self.model, detail], capture_output=True, text=True, timeout=seconds, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"transformers ended with {done.returncode}: {done.stderr.strip()[-300:]}")
        return json.loads(done.stdout.splitlines()[-1])

    def sweep(self, batches):
        def check(deadline):
            found = self._run("sweep", ",".join(map(str, batches)), checks.remaining(deadline))
            self.seconds.update({int(batch): seconds for batch, seconds in found["seconds"].items()})
            yield checks.fact("transformers with torch.compile, forward passes timed", True, f"{len(self.seconds)} batch sizes")

        return check

    def logits(self, seconds):
        return self._run("logits", self.dtype, seconds)


def make_model(programs, shape, directory):
    """Random weights in a published shape; bfloat16."""
    if not (directory / "config.json").exists():
        say(f"making {directory.name} (random weights)")
        subprocess.run([programs.path("make-checkpoint"), "--shape", shape, "--dtype", "bfloat16", directory], check=True, stdout=subprocess.DEVNULL)
    return directory


def parse(arguments):
    parser = argparse.ArgumentParser(prog="scripts/gpu-check", description=__doc__)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--bin", type=pathlib.Path, required=True, help="where lockstep-server and the others are")
    parser.add_argument("--output", type=pathlib.Path, default=REPOSITORY / "docs/gpu")
    parser.add_argument("--shape", default="llama-3-8b", help="of the large model; demo: the bundled model")
    parser.add_argument("--batches", default="1,2,4,8,16,32,64")
    parser.add_argument("--minutes", type=float, default=10, help="for everything; what does not fit is reported as unmeasured")
    parser.add_argument("--tests", default="*", help="which tests of the kernels run, as a GoogleTest filter")
    return parser.parse_args(arguments)


def run(options):
    logs = pathlib.Path(tempfile.mkdtemp(prefix="lockstep-gpu-check-"))
    say(f"logs: {logs}")
    programs = Programs(options.bin, {"LD_LIBRARY_PATH": library_path(options.bin)} if options.device == "cuda" else {}, logs)
    todo = Checks(options.minutes * 60)
    large = DEMO_MODEL if options.shape == "demo" else make_model(programs, options.shape, REPOSITORY / "build/bench" / options.shape)
    dtype = "float32" if options.shape == "demo" else "bfloat16"
    subject = checks.Subject(programs, options.device, DEMO_MODEL, large, dtype)
    peer = Peer(large, dtype, all(importlib.util.find_spec(name) for name in ("torch", "transformers")))
    batches = [int(batch) for batch in options.batches.split(",")]
    todo.run("kernels", checks.kernels(subject, TEST_BINARIES, options.tests), 120)
    todo.run("answers", checks.answers(subject), 120)
    todo.run("transformers' forward passes", peer.sweep(batches), 180)
    todo.run("speed", checks.speed(subject, batches, peer.seconds), 300)
    todo.run("logits beside transformers'", checks.logits(subject, peer.logits), 180)
    todo.run("profile", checks.unmeasured, 60)
    report.write(options.output, subject, machine.facts(REPOSITORY), todo.outcomes, peer.seconds)
    say(f"the report is {options.output / 'report.md'}")
    return 1 if any(outcome.status == FAILED for outcome in todo.outcomes) else 0


if __name__ == "__main__":
    try:
        sys.exit(run(parse(sys.argv[1:])))
    except BenchmarkError as error:
        sys.exit(f"scripts/gpu-check: {error}")
