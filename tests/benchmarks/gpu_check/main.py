"""Proves Lockstep on a GPU machine, or, with --device cpu, that this check itself works.

See scripts/gpu-check. Ends with 1 when a check failed.
"""

import argparse
import contextlib
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
from gpu_check.lockstep import Programs, remaining
from gpu_check.outcome import FAILED, UNMEASURED, Checks, Outcome, Unmeasured

REPOSITORY = pathlib.Path(__file__).parents[3]
DEMO_MODEL = REPOSITORY / "deploy/demo_model/model"
CHECKS = ["kernels", "kernel_speed", "answers", "transformers", "speed", "profile", "endurance"]
TEST_BINARIES = ["worker_device_test", "cuda_kernels_test", "device_sampling_test", "worker_comm_test"]


def library_path(binaries):
    """Where a machine with PyTorch has its libraries, behind those that were carried along."""
    spec = importlib.util.find_spec("torch")
    torch = [pathlib.Path(spec.origin).parent / "lib"] if spec and spec.origin else []
    packages = [glob.glob(str(path.parents[1] / "nvidia" / "*" / "lib")) for path in torch]
    return ":".join(map(str, [binaries.parent / "lib", *torch, *sum(packages, [])]))


class Peer:
    """transformers, where this machine has it. `found` is what transformers_peer.py prints."""

    def __init__(self, programs, get_model, dtype):
        self._programs, self._get_model, self._dtype = programs, get_model, dtype
        self.found, self.seconds = {}, {}

    def run(self, batches):
        def check(deadline):
            if not all(importlib.util.find_spec(name) for name in ("torch", "transformers")):
                raise Unmeasured("transformers and PyTorch are not there")
            command = [sys.executable, "-m", "gpu_check.transformers_peer", self._get_model(deadline), self._dtype, ",".join(map(str, batches))]
            self.found = json.loads(self._programs.output(deadline, "transformers", command).splitlines()[-1])
            self.seconds.update({int(batch): seconds for batch, seconds in self.found["seconds"].items()})
            yield checks.fact("transformers with torch.compile, forward passes timed", True, f"{len(self.seconds)} batch sizes")

        return check


class LargeModel:
    """Random weights in a published shape, bfloat16, made beside what does not need them."""

    def __init__(self, programs, shape, directory):
        self.directory = directory
        self._maker = None
        if not (directory / "complete").exists():
            say(f"making {directory.name} (random weights) meanwhile")
            command = [programs.path("make-checkpoint"), "--shape", shape, "--dtype", "bfloat16", "--shards", "16", directory]
            self._maker = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def get(self, deadline):
        if self._maker is not None:
            if self._maker.wait(timeout=remaining(deadline)) != 0:
                raise RuntimeError(f"make-checkpoint ended with {self._maker.returncode}: is the disk full?")
            self._maker = None
            (self.directory / "complete").touch()
        return self.directory

    def close(self):
        if self._maker is not None:
            self._maker.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._maker.wait(timeout=10)


class BundledModel:
    """In the large one's place, to try the check."""

    directory = DEMO_MODEL

    def get(self, deadline):
        return self.directory

    def close(self):
        pass


def parse(arguments):
    parser = argparse.ArgumentParser(prog="scripts/gpu-check", description=__doc__)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--bin", type=pathlib.Path, required=True, help="where lockstep-server and the others are")
    parser.add_argument("--output", type=pathlib.Path, help="where the report goes; default: docs/gpu and the card's name, such as h100")
    parser.add_argument("--shape", default="llama-3-8b", help="of the large model; demo: the bundled model")
    parser.add_argument("--batches", default="1,2,4,8,16,32,64")
    parser.add_argument("--minutes", type=float, default=8, help="for everything; what does not fit is reported as unmeasured")
    parser.add_argument("--endurance-seconds", type=float, default=180, help="for an hour's number of steps of the small model")
    parser.add_argument("--tests", default="*", help="which tests of the kernels run, as a GoogleTest filter")
    parser.add_argument("--only", type=lambda text: text.split(","), default=CHECKS, metavar="CHECK,...", help=f"of {', '.join(CHECKS)}")
    parser.add_argument("--logs", type=pathlib.Path, help="where the programs' output goes; default: a new directory")
    options = parser.parse_args(arguments)
    if unknown := set(options.only) - set(CHECKS):
        parser.error(f"--only: there is no check {', '.join(sorted(unknown))}; there are {', '.join(CHECKS)}")
    return options


def run_checks(options, todo, subject, large, peer, save):
    """`save` is called after each check with the names of those that have not come yet."""
    batches = [int(batch) for batch in options.batches.split(",")]

    def with_model(check):
        def body(deadline):
            large.get(deadline)
            yield from check(deadline)

        return body

    every = {
        "kernels": (checks.kernels(subject, TEST_BINARIES, options.tests), 160),
        "kernel_speed": (checks.kernel_speed(subject), 60),
        "answers": (checks.answers(subject), 120),
        "transformers": (peer.run(batches), 240),
        "speed": (with_model(checks.speed(subject, batches, peer)), 240),
        "profile": (with_model(checks.profiles(subject)), 120),
        "endurance": (checks.endurance(subject, options.endurance_seconds), options.endurance_seconds + 30),
    }
    for number, name in enumerate(options.only):
        todo.run(name, *every[name])
        save(options.only[number + 1 :])


def run(options):
    logs = options.logs or pathlib.Path(tempfile.mkdtemp(prefix="lockstep-gpu-check-"))
    logs.mkdir(parents=True, exist_ok=True)
    say(f"logs: {logs}")
    programs = Programs(options.bin, {"LD_LIBRARY_PATH": library_path(options.bin)} if options.device == "cuda" else {}, logs)
    todo = Checks(options.minutes * 60)
    dtype = "float32" if options.shape == "demo" else "bfloat16"
    is_bundled = options.shape == "demo"
    directory = REPOSITORY / "build/bench" / options.shape
    subject = checks.Subject(programs, options.device, DEMO_MODEL, DEMO_MODEL if is_bundled else directory, dtype)
    needs_large = {"transformers", "speed", "profile"} & set(options.only)
    large = BundledModel() if is_bundled or not needs_large else LargeModel(programs, options.shape, directory)
    peer = Peer(programs, large.get, dtype)
    output = options.output or REPOSITORY / "docs/gpu" / subject.card.lower()
    facts = machine.facts(REPOSITORY)

    def save(names_to_come):
        """So that what was found is there, should this be ended from outside."""
        to_come = [Outcome(name, UNMEASURED, "the check had not come to it") for name in names_to_come]
        report.write(output, subject, facts, todo.outcomes + to_come, peer.seconds)

    try:
        run_checks(options, todo, subject, large, peer, save)
    finally:
        large.close()
    say(f"the report is {output / 'report.md'}")
    return 1 if any(outcome.status == FAILED for outcome in todo.outcomes) else 0


if __name__ == "__main__":
    try:
        sys.exit(run(parse(sys.argv[1:])))
    except BenchmarkError as error:
        sys.exit(f"scripts/gpu-check: {error}")
