"""`scripts/bench serve`: the same requests to Lockstep and to the servers that people would otherwise run, on the same cores."""

import json
import resource
import shlex
import signal
import sys
import tempfile

import options as command_line
import report
import workload
from harness import machine
from harness.checkpoint import read_into_page_cache
from harness.children import BenchmarkError, cpu_seconds, memory_of
from harness.progress import say
from llama_cpp_side import LlamaCppSide
from lockstep_side import LockstepSide
from summary import Results
from transformers_side import TransformersSide

SYSTEMS = {system.side: system for system in (LockstepSide, TransformersSide, LlamaCppSide)}
# Greedy answers in float32, for the check that all systems compute the same.
AGREEMENT_REQUESTS, AGREEMENT_TOKENS = 8, 24
# Larger checkpoints would need several times their size in memory as float32.
MAX_AGREEMENT_BYTES = 1 << 30
# Open loops: arrivals at this share of what the slowest and the fastest system can do.
OPEN_LOOP_SHARE = 0.7


def model_name(model):
    """Of a directory; what is merely called "model" has its folder's name."""
    return model.resolve().parent.name if model.name == "model" else model.name


class ModelBenchmark:
    """All measurements with one checkpoint."""

    def __init__(self, options, model, config, results):
        self.options, self.model, self.config, self.results = options, model, config, results
        self.name = model_name(model)
        self.systems = []
        self.facts = {"name": self.name, "config": config, "versions": {}, "commands": {}, "unavailable": {}, "memory_bytes": {}, "rates": {}}
        self._starting = None
        self._seed = options.seed * 1000

    def start(self, dtype):
        """A peer that cannot run is noted and left out; Lockstep has to."""
        for side in self.options.sides:
            if side in self.facts["unavailable"]:
                continue
            self._starting = SYSTEMS[side](self.options, self.model, self.config, dtype)
            try:
                say(f"starting {self._starting.label} ({self.name}, {dtype})")
                self._starting.start()
            except BenchmarkError as error:
                self._starting.stop()
                if side == "lockstep":
                    raise
                say(f"{side} cannot be measured: {error}")
                self.facts["unavailable"][side] = str(error)
                continue
            self.systems.append(self._starting)
            self.facts["versions"][side] = self._starting.version
            self.facts["commands"][side] = shlex.join(map(str, self._starting.command))

    def stop(self):
        if self._starting and self._starting not in self.systems:
            self._starting.stop()
        while self.systems:
            self.systems.pop().stop()

    def _requests(self, num_requests, rate=None):
        self._seed += 1
        return workload.make(self.options, self.config["vocab_size"], num_requests, self._seed, rate)

    def check_agreement(self):
        if (size := sum(path.stat().st_size for path in self.model.glob("*.safetensors"))) > MAX_AGREEMENT_BYTES:
            self.facts["agreement"] = {"uncompared": f"{size / 1e9:.1f} GB of weights would be twice as much in float32"}
            return
        self.start("float32")
        requests = [{**request, "output_length": AGREEMENT_TOKENS} for request in self._requests(AGREEMENT_REQUESTS)]
        answers = {system.side: system.greedy(requests) for system in self.systems}
        self.stop()
        ours = answers.get("lockstep")
        same = {side: sum(a == b for a, b in zip(ours, theirs)) for side, theirs in answers.items() if ours and side != "lockstep"}
        self.facts["agreement"] = {"num_answers": AGREEMENT_REQUESTS, "tokens": AGREEMENT_TOKENS, "same_as_lockstep": same}
        say(f"answers equal to Lockstep's, of {AGREEMENT_REQUESTS}: {same}")
        if same.get("transformers", AGREEMENT_REQUESTS) < AGREEMENT_REQUESTS:
            raise BenchmarkError(f"{self.name}: greedy float32 answers differ from transformers': {answers['lockstep']} and {answers['transformers']}")

    def measure(self, system, number, load, requests, concurrency):
        before = sum(map(cpu_seconds, system.pids))
        run = system.run(requests, concurrency)
        if run["output_tokens"] != workload.num_output_tokens(requests):
            raise BenchmarkError(f"{system.side} gave {run['output_tokens']} tokens, {workload.num_output_tokens(requests)} were asked for")
        run["cpu_seconds"] = sum(map(cpu_seconds, system.pids)) - before
        self.results.record(model=self.name, load=load, side=system.side, round=number, requests=len(requests), **run)
        say(f"{self.name}, {load}: {system.side} {run['output_tokens_per_second']:.1f} tokens/s, first token p50 {run['ttft_p50'] * 1e3:.0f} ms, "
            f"inter-token p50 {run['itl_p50'] * 1e3:.1f} ms, CPU {run['cpu_seconds']:.1f} s")  # fmt: skip

    def warm_up(self):
        for system in self.systems:
            say(f"warming up {system.label}")
            system.run(self._requests(max(self.options.concurrency)), None)

    def round(self, number):
        order = self.systems if number % 2 == 0 else self.systems[::-1]
        for concurrency in self.options.concurrency:
            requests = self._requests(max(4, concurrency * self.options.requests_per_stream))
            for system in order:
                self.measure(system, number, report.closed(concurrency), requests, concurrency)
        if number == 0:
            self._choose_rates()
        for load, rate in self.facts["rates"].items():
            requests = self._requests(self.options.open_loop_requests, rate)
            for system in order:
                self.measure(system, number, load, requests, None)

    def _choose_rates(self):
        """From the first round's closed loop with most requests under way; they stay the same for all rounds."""
        busiest = report.closed(max(self.options.concurrency))
        speeds = [self.results.series("requests_per_second", self.name, busiest, system.side)[0] for system in self.systems]
        self.facts["rates"] = {report.OPEN_LOOPS[0]: OPEN_LOOP_SHARE * min(speeds)}
        if len(speeds) > 1:
            self.facts["rates"][report.OPEN_LOOPS[1]] = OPEN_LOOP_SHARE * max(speeds)

    def run(self):
        say(f"reading {self.name} into the page cache")
        read_into_page_cache(self.model)
        self.check_agreement()
        self.start("bfloat16")
        self.warm_up()
        for number in range(self.options.repeats):
            say(f"{self.name}: round {number + 1} of {self.options.repeats}")
            self.round(number)
        for system in self.systems:
            self.facts["memory_bytes"][system.side] = sum(memory_of(pid)["pss"] for pid in system.pids)
        self.stop()


class Benchmark:
    def __init__(self, options):
        self.options = options
        self.results = Results()
        self.models = [ModelBenchmark(options, *pair, self.results) for pair in zip(options.models, options.configs)]

    def run(self):
        others = machine.OthersLoad(self._cpu_seconds)
        for model in self.models:
            model.run()
        self.others_share = others.share()

    def _cpu_seconds(self):
        """Of the benchmark and of all that it has started; what has ended counts as the parent's."""
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        running = sum(cpu_seconds(pid) for model in self.models for system in model.systems for pid in system.pids)
        return cpu_seconds("self") + ended.ru_utime + ended.ru_stime + running

    def stop(self):
        for model in self.models:
            model.stop()


def _without_paths(text):
    return text.replace(str(command_line.REPOSITORY) + "/", "").replace(tempfile.gettempdir() + "/", "")


def write(benchmark, facts, command):
    options = benchmark.options
    page = _without_paths(report.markdown(benchmark, facts, command))
    document = {
        "machine": facts, "command": command, "others_share": benchmark.others_share,
        "workload": {"input_len": options.input_len, "output_len": options.output_len, "seed": options.seed},
        "models": [model.facts for model in benchmark.models], "measurements": benchmark.results.measurements,
    }  # fmt: skip
    options.output.mkdir(parents=True, exist_ok=True)
    text = _without_paths(json.dumps(document, indent=1))
    (options.output / "serving.md").write_text(page, encoding="utf-8")
    (options.output / "serving.json").write_text(text + "\n", encoding="utf-8")
    (options.output / "serving.svg").write_text(report.svg(benchmark, facts), encoding="utf-8")
    print(page)
    say(f"written: {options.output}/serving.md, .json, .svg")


def main():
    options = command_line.parse(sys.argv[1:])
    options.work_dir.mkdir(parents=True, exist_ok=True)
    # SIGTERM unwinds like Ctrl-C, so that the children are stopped in either case.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    benchmark = Benchmark(options)
    try:
        facts = machine.facts(command_line.REPOSITORY)
        benchmark.run()
        write(benchmark, facts, shlex.join(["scripts/bench", "serve", *sys.argv[1:]]))
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    finally:
        benchmark.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
