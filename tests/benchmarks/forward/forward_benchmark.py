"""`scripts/bench forward`: Lockstep beside transformers' own tensor parallelism, on the same checkpoint and cores."""

import json
import pathlib
import shlex
import signal
import sys
import tempfile

import measure
import options as command_line
import report
from harness import machine
from harness.checkpoint import kv_cache_bytes_per_token, read_into_page_cache
from harness.children import BenchmarkError, cpu_seconds
from harness.progress import say
from summary import Results, targets

# Tokens that the KV cache holds, so small that measuring fills it: its pages are taken only when first written.
MIN_KV_TOKENS = 4096


def generate_stubs(directory):
    """The Python client's modules, from proto/; the worker's control link is none of a client's business."""
    from grpc_tools import protoc

    proto = command_line.REPOSITORY / "proto"
    files = [str(path) for path in sorted((proto / "lockstep" / "v1").glob("*.proto"))]
    well_known = pathlib.Path(protoc.__file__).parent / "_proto"
    arguments = ["protoc", f"-I{proto}", f"-I{well_known}", f"--python_out={directory}", f"--grpc_python_out={directory}", *files]
    if protoc.main(arguments) != 0:
        raise BenchmarkError(f"protoc refused the files under {proto}")
    sys.path.insert(0, directory)


def kv_cache_tokens(options):
    return max(
        MIN_KV_TOKENS,
        2 * max(options.batch_sizes) * options.sequence_length,
        2 * options.streams * (measure.STREAM_PROMPT_LENGTH + measure.STREAM_TOKENS),
        2 * max(options.decode_batch_sizes) * (measure.DECODE_PROMPT_LENGTH + options.decode_tokens),
    )


def kv_cache_bytes(options, num_ranks):
    return kv_cache_tokens(options) * kv_cache_bytes_per_token(options.config, num_ranks)


def make_systems(options):
    """Neighbours in this order are measured right after each other: each rank count of ours beside the reference's."""
    from lockstep_side import LockstepSide
    from transformers_side import TransformersSide

    systems = []
    for num_ranks in sorted(options.ranks, reverse=True):
        threads = options.cores // num_ranks
        if "lockstep" in options.sides:
            systems.append(LockstepSide(options, num_ranks, threads, kv_cache_bytes(options, num_ranks), kv_cache_tokens(options) // 2))
        if "transformers" in options.sides:
            systems.append(TransformersSide(options, num_ranks, threads))
    return systems


class Benchmark:
    def __init__(self, options):
        self.options = options
        self.systems = make_systems(options)
        self.results = Results()
        self.measured = {"start_seconds": {}, "start_cpu_seconds": {}, "peer_load_seconds": {}, "memory": {}, "overhead": {}}
        self._running = []

    def of(self, side):
        return [system for system in self.systems if system.side == side]

    def start(self, system):
        say(f"starting {system.name}")
        self._running.append(system)
        system.start()

    def stop(self, system):
        self._running.remove(system)
        system.stop()

    def stop_all(self):
        while self._running:
            system = self._running.pop()
            say(f"stopping {system.name}")
            system.stop()

    def check_memory(self):
        weights = sum(path.stat().st_size for path in self.options.model.glob("*.safetensors"))
        largest_logits = 3 * max(self.options.batch_sizes) * self.options.sequence_length * self.options.config["vocab_size"] * 4
        need = int(weights * len(self.systems) * 1.15) + largest_logits
        if (available := machine.available_memory()) < need:
            raise BenchmarkError(
                f"{len(self.systems)} systems side by side need about {need / 2**30:.0f} GiB of memory, {available / 2**30:.0f} GiB are "
                "available; take fewer with --ranks or --sides, or smaller batches with --batch-sizes"
            )

    def float32_logits(self, prompts):
        """What bfloat16 approximates; its process is gone before anything is timed."""
        from transformers_side import TransformersSide

        exact = TransformersSide(self.options, 1, self.options.cores, dtype="float32")
        self.start(exact)
        logits = exact.last_logits(prompts)
        self.stop(exact)
        return logits

    def start_systems(self):
        say("reading the checkpoint into the page cache")
        read_into_page_cache(self.options.model)
        for system in self.of("lockstep"):
            seconds = self.measured["start_seconds"].setdefault(system.name, [])
            for number in range(1 if self.options.quick else 3):
                if number:
                    self.stop(system)
                self.start(system)
                seconds.append(system.start_seconds)
                cpu = sum(map(cpu_seconds, system.pids))
                say(f"{system.name} served after {system.start_seconds:.2f} s (CPU {cpu:.2f} s)")
            self.measured["start_cpu_seconds"][system.name] = cpu
            self.measured["memory"][system.name] = {"after_loading": system.memory()}
            self.generate(system)
        for system in self.of("transformers"):
            self.start(system)
            self.measured["peer_load_seconds"][system.name] = system.start_seconds
            hello = system.hellos[0]
            self.measured["peer_versions"] = f"transformers {hello['transformers']}, torch {hello['torch']}, {hello['attention']} attention, gloo"

    def generate(self, system):
        """Before anything else has been asked of the system: Forward with all logits needs memory that answers do not."""
        say(f"{self.options.streams} streams on {system.name}")
        self.measured["overhead"][system.name] = measure.frontend_overhead(system, self.options)
        self.measured["memory"][system.name]["after_generating"] = system.memory()

    def check_agreement(self, prompts, exact):
        found = {}
        for system in self.systems:
            found[system.name] = measure.agreement(system.last_logits(prompts), exact)
            say(f"{system.name}: relative error {found[system.name]['relative_error']:.4f} against float32")
        self.measured["agreement"] = found
        # The reference's own noise: its rank counts sum in different orders, so the larger of their errors.
        noise = max((found[system.name] for system in self.of("transformers")), key=lambda a: a["relative_error"])
        measure.check_agreement(found, noise)

    def run(self):
        self.check_memory()
        prompts = measure.Prompts(self.options.config["vocab_size"], seed=1).draw(measure.AGREEMENT_PROMPTS, measure.AGREEMENT_LENGTH)
        compare = len(self.options.sides) > 1
        exact = self.float32_logits(prompts) if compare else None
        self.start_systems()
        if compare:
            self.check_agreement(prompts, exact)
        others = machine.OthersLoad(lambda: cpu_seconds("self") + sum(cpu_seconds(pid) for s in self.systems for pid in s.pids))
        self.measured["rounds"] = measure.rounds(self.systems, self.options, self.results.record, say)
        self.measured["others_share"] = others.share()
        for system in self.of("transformers"):
            self.measured["gemm_rate"] = max(self.measured.get("gemm_rate", 0), measure.gemm_rate(system, self.options))
            self.stop(system)
        for system in self.of("lockstep"):
            self.measured["memory"][system.name]["after_forward"] = system.memory()


def write(benchmark, facts, command):
    options, results, measured = benchmark.options, benchmark.results, benchmark.measured
    arguments = (benchmark.systems, options, results, measured)
    page = report.markdown(*arguments, facts, command)
    document = {
        "machine": facts,
        "command": command,
        "commands": {system.name: shlex.join(str(part) for part in system.command) for system in benchmark.systems},
        "model": {"name": options.model.name, "config": options.config},
        "sequence_length": options.sequence_length,
        "decode": {"prompt_length": measure.DECODE_PROMPT_LENGTH, "tokens": options.decode_tokens},
        "targets": targets(options, results, measured),
        **measured,
        "measurements": results.measurements,
    }
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / options.page
    path.with_suffix(".md").write_text(page, encoding="utf-8")
    text = json.dumps(document, indent=1).replace(str(command_line.REPOSITORY) + "/", "").replace(tempfile.gettempdir() + "/", "")
    path.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    path.with_suffix(".svg").write_text(report.svg(*arguments, facts), encoding="utf-8")
    print(page)
    say(f"written: {path}.md, .json, .svg")


def main():
    options = command_line.parse(sys.argv[1:])
    options.work_dir.mkdir(parents=True, exist_ok=True)
    # SIGTERM unwinds like Ctrl-C, so that the children are stopped in either case.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    command = shlex.join(["scripts/bench", "forward", *sys.argv[1:]])
    with tempfile.TemporaryDirectory(prefix="lockstep-bench-") as stubs:
        benchmark = None
        try:
            generate_stubs(stubs)
            facts = machine.facts(command_line.REPOSITORY)
            benchmark = Benchmark(options)
            benchmark.run()
            write(benchmark, facts, command)
        except BenchmarkError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            say("interrupted")
            return 130
        finally:
            if benchmark:
                benchmark.stop_all()
    return 0


if __name__ == "__main__":
    sys.exit(main())
