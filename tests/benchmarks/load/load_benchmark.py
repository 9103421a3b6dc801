"""A server under many streams for a long time, and under more than it can carry.

    load_benchmark.py BIN_DIRECTORY MODEL_DIRECTORY OUTPUT_DIRECTORY [--minutes M] [--streams N] [--overload-seconds S]

First a closed loop that keeps N streams open: whether every answer comes, and whether the memory of server and workers stays where
it is. Then an open loop at four times the rate that the server was found to carry: how many requests still end within the
objective, and whether the others are refused.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile
import threading

from harness import machine
from harness.lockstep_server import LockstepServer
from harness.option_types import REPOSITORY, add_output, count, output_directory, positive
from harness.progress import say

START_SECONDS = 60
SAMPLE_SECONDS = 5
MIN_MINUTES = 1
LENGTHS = ["--random-input-len", "32", "--random-output-len", "32", "--random-range-ratio", "0.5"]
OVERLOAD = 4
# A queue that empties within the objective: what waits longer is refused at once, and told when to come back.
OVERLOAD_SLOTS, OVERLOAD_QUEUE = 64, 64
# Times of the closed loop at the server's capacity: a request is good within this many of its own end-to-end p99.
OBJECTIVE_FACTOR = 3


def children_of(pid):
    path = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text(encoding="utf-8").split()]


def resident_mib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has ended")


class MemoryWatch:
    """Resident memory of the server and its workers, every few seconds, as MiB by name."""

    def __init__(self, server_pid):
        self._pids = {"server": server_pid, **{f"worker {i}": pid for i, pid in enumerate(sorted(children_of(server_pid)))}}
        self.samples = {name: [] for name in self._pids}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self):
        while not self._end.wait(SAMPLE_SECONDS):
            for name, pid in self._pids.items():
                self.samples[name].append(resident_mib(pid))

    def stop(self):
        self._end.set()
        self._thread.join()


def median(values):
    return sorted(values)[len(values) // 2]


def growth(samples):
    """The median of the second quarter, when everything has been used once, and of the last; MiB."""
    quarter = len(samples) // 4
    return {"begin_mib": median(samples[quarter:2 * quarter]), "end_mib": median(samples[-quarter:])}


class Bench:
    def __init__(self, binaries, model, directory):
        self.binaries, self.model, self.directory = binaries, model, pathlib.Path(directory)

    def server(self, slots, queue):
        command = [self.binaries / "lockstep-server", "--model", self.model, "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0",
                   "--tensor-parallel-size", "2", "--threads-per-rank", "1", "--kv-cache-memory", "256MiB",
                   "--max-num-seqs", str(slots), "--max-queued-requests", str(queue)]
        return LockstepServer(list(map(str, command)), self.directory / "server.log", START_SECONDS)

    def run(self, server, *arguments, seed):
        output = self.directory / "run.json"
        command = [self.binaries / "lockstep", "--target", server.target, "bench", "serve", *LENGTHS, "--seed", str(seed),
                   "--output", output, *arguments]
        subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
        return json.loads(output.read_text(encoding="utf-8"))["runs"][0]


def measure_streams(bench, minutes, streams):
    say(f"{streams} open streams: finding the rate")
    server = bench.server(slots=256, queue=2 * streams)
    try:
        rate = bench.run(server, "--max-concurrency", streams, "--num-prompts", 4 * streams, seed=1)["requests_per_second"]
        say(f"{rate:.0f} requests per second; now for about {minutes:g} minutes")
        memory = MemoryWatch(server.pid)
        try:
            run = bench.run(server, "--max-concurrency", streams, "--num-prompts", int(rate * 60 * minutes), seed=2)
        finally:
            memory.stop()
    finally:
        server.stop()
    return {"streams": streams, "run": run, "memory": {name: growth(samples) for name, samples in memory.samples.items()},
            "samples_mib": {name: [round(value, 1) for value in samples[::6]] for name, samples in memory.samples.items()}}


def measure_overload(bench, seconds):
    say("overload: finding the capacity")
    server = bench.server(slots=OVERLOAD_SLOTS, queue=OVERLOAD_QUEUE)
    try:
        bench.run(server, "--max-concurrency", OVERLOAD_SLOTS, "--num-prompts", 20 * OVERLOAD_SLOTS, seed=3)
        carried = bench.run(server, "--max-concurrency", OVERLOAD_SLOTS, "--num-prompts", 100 * OVERLOAD_SLOTS, seed=4)
        capacity = carried["requests_per_second"]
        limit_ms = OBJECTIVE_FACTOR * carried["e2el_seconds"]["p99"] * 1000
        rate = OVERLOAD * capacity
        say(f"{capacity:.0f} requests per second; now {rate:.0f} for {seconds:g} s, good within {limit_ms:.0f} ms")
        run = bench.run(server, "--request-rate", f"{rate:.1f}", "--num-prompts", int(rate * seconds), "--goodput", f"e2el:{limit_ms:.0f}", seed=5)
    finally:
        server.stop()
    return {"capacity_requests_per_second": capacity, "rate_requests_per_second": rate, "objective_ms": limit_ms, "run": run,
            "goodput_of_capacity": run["goodput_requests_per_second"] / capacity}


def memory_rows(memory):
    return "\n".join(f"| {name} | {m['begin_mib']:.0f} MiB | {m['end_mib']:.0f} MiB | {m['end_mib'] / m['begin_mib'] - 1:+.1%} |"
                     for name, m in memory.items())


def report(streams, overload, facts):
    run, over = streams["run"], overload["run"]
    asked, ended = run["requests"], over["requests"]
    return f"""# A thousand streams, and overload

Written by `scripts/bench load`, on {facts["cores"]} cores ({facts["cpu"]}) that server, two workers and the client share; demo model, prompts of 16 to 48
tokens, answers of as many.

## {streams["streams"]:,} open streams for {run["duration_seconds"] / 60:.1f} minutes

{asked["completed"]:,} of {asked["sent"]:,} requests completed, {asked["refused"]} refused, {asked["failed"]} failed; {run["requests_per_second"]:.0f} requests and
{run["output_tokens_per_second"]:,.0f} tokens per second.

| resident memory | second quarter | last quarter | change |
| --- | ---: | ---: | ---: |
{memory_rows(streams["memory"])}

## {OVERLOAD} times more than the server can carry

{OVERLOAD_SLOTS} slots, a queue of {OVERLOAD_QUEUE}. A closed loop of {OVERLOAD_SLOTS} streams is answered at {overload["capacity_requests_per_second"]:.0f} requests per second. An open loop then sends
{overload["rate_requests_per_second"]:.0f} per second for {over["duration_seconds"]:.0f} s; a request is good if it ends within {overload["objective_ms"]:,.0f} ms, {OBJECTIVE_FACTOR} times the closed loop's p99.

| | requests per second | of the capacity |
| --- | ---: | ---: |
| good | {over["goodput_requests_per_second"]:.0f} | {overload["goodput_of_capacity"]:.1%} |
| completed | {over["requests_per_second"]:.0f} | {over["requests_per_second"] / overload["capacity_requests_per_second"]:.1%} |
| refused (RESOURCE_EXHAUSTED with a retry delay) | {ended["refused"] / over["duration_seconds"]:.0f} | |

{ended["failed"]} of {ended["sent"]:,} failed otherwise.

Commit {facts["commit"]}, {facts["date"]}.
"""


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench load", description="Many open streams for minutes, and more requests than the server can carry.")
    parser.add_argument("--minutes", type=positive, default=10, metavar="M", help=f"for the open streams, at least {MIN_MINUTES} (default: 10)")
    parser.add_argument("--streams", type=count, default=1000, metavar="N", help="that are open at once (default: 1000)")
    parser.add_argument("--overload-seconds", type=positive, default=60, metavar="S", help="for each rate of the overload (default: 60)")
    add_output(parser, "load")
    options = parser.parse_args()
    if options.minutes < MIN_MINUTES:
        parser.error(f"--minutes is {options.minutes:g}; at least {MIN_MINUTES}, for what is said of the memory's growth")
    output = output_directory(parser, options)
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(REPOSITORY / "build/release/bin", REPOSITORY / "deploy/demo_model/model", directory)
        streams = measure_streams(bench, options.minutes, options.streams)
        overload = measure_overload(bench, options.overload_seconds)
    facts = machine.facts(REPOSITORY)
    text = report(streams, overload, facts)
    print(text)
    (output / "load.md").write_text(text, encoding="utf-8")
    document = {"machine": facts, "streams": streams, "overload": overload}
    (output / "load.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
