"""How long a worker waits between its steps, from the trace that it writes, while streams decode.

The server and the control link are the real ones. The worker has no model: its step takes as long as it is told, so that what
is left is the frontend's and the link's. With REGEX the answers follow it as their guide, and the worker waits for a mask in each step. The trace is in Chrome's format (chrome://tracing, Perfetto).
"""

import argparse
import concurrent.futures
import json
import os
import re
import shutil
import statistics
import subprocess
import tempfile

from harness.option_types import REPOSITORY, count, positive

TOKENS = 400
START_SECONDS = 60


def start_server(binary, model, directory):
    """The server process and where it listens, with workers that this program starts."""
    link = f"unix:{directory}/link.sock"
    process = subprocess.Popen([binary, "--model", model, "--listen", "127.0.0.1:0", "--metrics-listen", "off",
                                "--external-workers", "--worker-listen", link], stdout=subprocess.PIPE, text=True,
                               env={**os.environ, "LOCKSTEP_POOL_TOKEN": "idle"}, stderr=subprocess.DEVNULL)
    return process, link


def start_worker(binary, link, step_us, trace):
    return subprocess.Popen([binary, f"0,0,0,{step_us},{trace}", "--frontend", link, "--rank", "0", "--world-size", "1"],
                            env={**os.environ, "LOCKSTEP_POOL_TOKEN": "idle"}, stderr=subprocess.DEVNULL)


def generate(client, address, index, regex):
    guide = ["--regex", regex] if regex else ["--ignore-eos"]
    done = subprocess.run([client, "--target", address, "generate", "--token-ids", f"{index + 1},2,3", "-n", str(TOKENS),
                           "--temperature", "0", *guide], capture_output=True, text=True, timeout=START_SECONDS)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)


def report(trace, num_streams):
    """Of the steps in the middle, where all streams decode: what of a step's time its worker waits before it."""
    with open(trace, encoding="utf-8") as file:
        steps = json.loads(file.read() + "]")
    steps = steps[len(steps) // 4:-len(steps) // 4]
    gaps = [after["ts"] - before["ts"] - before["dur"] for before, after in zip(steps, steps[1:])]
    whole = steps[-1]["ts"] - steps[0]["ts"]
    print(f"{num_streams} streams, {len(steps)} steps of {statistics.median(s['dur'] for s in steps) / 1000:.2f} ms (median)")
    print(f"idle between steps: median {statistics.median(gaps):.0f} µs, p99 {sorted(gaps)[int(len(gaps) * 0.99)]:.0f} µs, "
          f"{sum(gaps) / whole:.2%} of the time")


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench idle", description="How long a worker waits between its steps, from a trace.")
    parser.add_argument("step_ms", type=positive, nargs="?", default=8, metavar="MS", help="milliseconds of a step (default: 8)")
    parser.add_argument("num_streams", type=count, nargs="?", default=8, metavar="STREAMS", help="that decode (default: 8)")
    parser.add_argument("regex", nargs="?", metavar="REGEX", help="that answers follow, so that each step waits for a mask")
    options = parser.parse_args()
    step_ms, num_streams, regex = options.step_ms, options.num_streams, options.regex
    binaries, model = REPOSITORY / "build/release", REPOSITORY / "deploy/demo_model/model"
    server_binary, worker_binary = binaries / "bin/lockstep-server", binaries / "tests/fake-worker"
    kept_trace = REPOSITORY / "build/bench/worker_idle_trace.json"
    client = os.path.join(os.path.dirname(server_binary), "lockstep")
    with tempfile.TemporaryDirectory() as directory:
        trace = os.path.join(directory, "trace.json")
        server, link = start_server(server_binary, model, directory)
        worker = start_worker(worker_binary, link, int(step_ms * 1000), trace)
        try:
            address = re.match(r"lockstep-server listening on ([^,\s]+)", server.stdout.readline()).group(1)
            with concurrent.futures.ThreadPoolExecutor(num_streams) as threads:
                list(threads.map(lambda i: generate(client, address, i, regex), range(num_streams)))
        finally:
            server.terminate()
            server.wait(timeout=START_SECONDS)
            worker.wait(timeout=START_SECONDS)
        report(trace, num_streams)
        shutil.copy(trace, kept_trace)
        print(f"the trace is in {kept_trace}")


if __name__ == "__main__":
    main()
