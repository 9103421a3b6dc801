"""What is checked on a GPU machine. Each check is a generator of outcomes that gets a deadline."""

import concurrent.futures
import json
import math
import subprocess
import time

from harness.checkpoint import head_dim
from harness.children import BenchmarkError

from gpu_check.outcome import FAILED, UNMEASURED, Outcome, Unmeasured, fact, figure, one_line
from gpu_check.profile import Profile
from gpu_check.prompts import PROMPT_TOKENS, prompts

QUESTIONS = ["What is 12 plus 30?", "What day comes after Monday?", "What is the opposite of hot?", "Count from 3 to 9.", "Tell me a story about a fox."]
ANSWER_TOKENS = 48
# Of one card: bytes per second of its memory, bfloat16 operations per second, by words of its name.
CARDS = {"H200": (4.8e12, 989e12), "H100": (3.35e12, 989e12), "A100": (2.04e12, 312e12), "B200": (8.0e12, 2250e12)}
# Of one step: a batch of four prompts is one, and 64 streams do not wait long for it.
STEP_TOKENS = 2048
SATURATED_TOKENS = 12_500  # per second on an H100, a published figure of vLLM


class Subject:
    """What is checked: the programs, the device, a small model whose answers are known and a large one whose speed is."""

    def __init__(self, programs, device, small, large, dtype):
        self.programs, self.device, self.small, self.large, self.dtype = programs, device, small, large, dtype
        self.gpu = self._query("name") if device == "cuda" else ""
        self.forward_seconds = {}  # by batch size
        self.profiles = {}  # documents by name
        self.kernel_rates = ""  # text
        self.card = next((word for word in CARDS if word in self.gpu), device)
        self.bandwidth, self.peak = CARDS.get(self.card, (None, None))

    @staticmethod
    def _query(fact_name):
        command = ["nvidia-smi", f"--query-gpu={fact_name}", "--format=csv,noheader,nounits", "--id=0"]
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()
        except (OSError, subprocess.SubprocessError) as error:
            raise BenchmarkError(f"no GPU answers here ({error}): see nvidia-smi, or try the check itself with --device cpu") from error

    def aim(self, value):
        """Aims are a GPU's."""
        return value if self.device == "cuda" else None

    def memory_mib(self):
        """Of the GPU, in use."""
        return float(self._query("memory.used"))

    def serve(self, deadline, model, *options):
        return self.programs.serve(deadline, model, "--device", self.device, *options)


def kernels(subject, names, selection):
    """The tests of kernels, sampler, device and collectives, on the device: each program has its share of the time that the others left."""

    def check(deadline):
        for number, name in enumerate(names):
            now = time.monotonic()
            share = now + (deadline - now) / (len(names) - number)
            try:
                passed, failed, skipped = subject.programs.tests(share, name, selection)
            except Unmeasured as reason:
                yield Outcome(name, UNMEASURED, str(reason))
                continue
            except Exception as error:  # noqa: BLE001: the others are still worth knowing
                yield fact(name, False, one_line(error))
                continue
            if passed + len(failed) + skipped == 0:
                yield Outcome(name, UNMEASURED, f"none of its tests is {selection}")
                continue
            # Some tests are about machines without a GPU.
            yield fact(name, not failed and passed > 0, f"{passed} passed, {len(failed)} failed, {skipped} skipped {' '.join(failed[:3])}".strip())

    return check


def kernel_speed(subject):
    """Rates of the kernels beside LibTorch's own."""

    def check(deadline):
        if subject.device != "cuda":
            raise Unmeasured("it is about GPUs")
        subject.kernel_rates = subject.programs.output(deadline, "gpu_kernels_benchmark")
        yield fact("rates of kernels beside LibTorch's", bool(subject.kernel_rates), f"{len(subject.kernel_rates.splitlines())} lines")

    return check


def answers(subject):
    """Greedy answers in float32 are the CPU's: with graphs and without, one by one and in one batch; and on two ranks."""

    def check(deadline):
        small = ["--dtype", "float32", "--kv-cache-memory", "256MiB"]

        def answer(server, question):
            return subject.programs.answer(deadline, server, question, ANSWER_TOKENS)

        def ask(server):
            return [answer(server, question) for question in QUESTIONS]

        def ask_at_once(server):
            with concurrent.futures.ThreadPoolExecutor(len(QUESTIONS)) as threads:
                return list(threads.map(lambda question: answer(server, question), QUESTIONS))

        with subject.programs.serve(deadline, subject.small, "--device", "cpu", *small) as server:
            expected = ask(server)
        one_by_one, at_once = ("", ask), (", all at once", ask_at_once)
        variants = {"recorded graphs": ([], [one_by_one, at_once]), "two ranks": (["--tensor-parallel-size", "2"], [one_by_one])}
        if subject.device == "cuda":  # others have no graphs to do without
            variants["no graphs (--enforce-eager)"] = (["--enforce-eager"], [one_by_one, at_once])
        for name, (options, manners) in variants.items():
            try:
                with subject.serve(deadline, subject.small, *small, *options) as server:
                    found = {manner: way(server) for manner, way in manners}
            except Unmeasured:
                raise
            except Exception as error:  # noqa: BLE001: the others are still worth knowing
                yield fact(f"answers in float32, {name}: as on the CPU", False, one_line(error))
                continue
            for manner, tokens in found.items():
                same = sum(bool(b) and a == b for a, b in zip(tokens, expected, strict=True))
                yield fact(f"answers in float32, {name}{manner}: as on the CPU", same == len(expected), f"{same} of {len(expected)}")

    return check


def layer_parameters(config):
    """Weights of all layers' matrices."""
    hidden, heads, size = config["hidden_size"], config["num_attention_heads"], head_dim(config)
    attention = hidden * size * 2 * (heads + (config.get("num_key_value_heads") or heads))
    return config["num_hidden_layers"] * (attention + 3 * hidden * config["intermediate_size"])


def parameters_read(config):
    """Weights that a token passes through: the layers' and the head's. Of the embedding it reads one row."""
    return layer_parameters(config) + config["vocab_size"] * config["hidden_size"]


def forward_operations(config, batch):
    """Floating-point operations of a forward pass that gives each prompt's last logits, causal attention included."""
    layers = layer_parameters(config) * PROMPT_TOKENS
    attention = config["num_hidden_layers"] * config["num_attention_heads"] * head_dim(config) * PROMPT_TOKENS * (PROMPT_TOKENS + 1)
    return 2 * batch * (layers + attention + config["vocab_size"] * config["hidden_size"])


# Steps of a server that gets, one after another, forward passes of one step each, DECODES, 64 streams and 256: where each is under
# way, [first, number of steps].
PROFILES = {"forward of 4 × 512 tokens": (4, 3), "decode at batch 1": (200, 30), "64 streams": (700, 30), "256 streams": (1200, 30)}
DECODES = {"num_prompts": 4, "random_input_len": 64, "random_output_len": 128}


def speed(subject, batches, peer):
    """Start, decodes, throughput, forward passes, logits and memory of the large model, one server for all."""
    def check(deadline):
        config = json.loads((subject.large / "config.json").read_text(encoding="utf-8"))
        with subject.serve(deadline, subject.large, "--dtype", subject.dtype, "--max-num-batched-tokens", STEP_TOKENS) as server:
            yield figure("start until ready, s", server.start_seconds, subject.aim(10), at_most=True)
            yield from _logits(subject, deadline, server, peer)
            yield from _decode(subject, deadline, server, 2 * parameters_read(config))
            yield from _serving(subject, deadline, server, config["max_position_embeddings"])
            yield from _forward(subject, deadline, server, batches, config, peer.seconds)

    return check


# What a server with 256 streams and a large model takes in an hour, at 16 ms each.
HOUR_OF_STEPS = 225_000
ROUND = {"max_concurrency": 32, "random_input_len": 32, "random_output_len": 160, "random_range_ratio": 0.5}


def endurance(subject, seconds):
    """As many steps as an hour has, of the small model: memory stays where it is after the first of many rounds of requests."""

    def check(deadline):
        is_cut_short = deadline < time.monotonic() + seconds
        stop = min(deadline, time.monotonic() + seconds) - 15
        is_gpu = subject.device == "cuda"
        options = {"num_prompts": 1024 if is_gpu else 32, **ROUND}
        with subject.serve(deadline, subject.small, "--dtype", "bfloat16" if is_gpu else "float32") as server:
            subject.programs.load(deadline, server, **options)
            first = subject.programs.num_steps(server)
            before = subject.memory_mib() if is_gpu else None
            while time.monotonic() < stop and subject.programs.num_steps(server) - first < HOUR_OF_STEPS:
                subject.programs.load(deadline, server, **options)
            gained = subject.memory_mib() - before if before is not None else None
            num_steps = subject.programs.num_steps(server) - first
        steps = figure("steps in rounds of requests, one after another", num_steps, subject.aim(HOUR_OF_STEPS))
        if steps.status == FAILED and is_cut_short:
            steps.status, steps.value = UNMEASURED, f"{steps.value} when no time was left"
        yield steps
        if gained is not None:
            yield figure("GPU memory gained in these steps, MiB", gained, 2, at_most=True)

    return check


def profiles(subject):
    """Where the time of a step goes on the GPU, and how long it waits between steps; its own server, since tracing costs time."""

    def check(deadline):
        if subject.device != "cuda":
            raise Unmeasured("profiles are of GPUs")
        directory = subject.programs.logs / "profiles"
        steps = ",".join(f"{first}:{count}" for first, count in PROFILES.values())
        config = json.loads((subject.large / "config.json").read_text(encoding="utf-8"))
        chat = _chat_lengths(config["max_position_embeddings"])
        options = ["--dtype", subject.dtype, "--max-num-batched-tokens", STEP_TOKENS, "--profile-dir", directory, "--profile-steps", steps]
        with subject.serve(deadline, subject.large, *options) as server:
            inputs = prompts(4, config["vocab_size"])
            for _ in range(8):
                subject.programs.forward(deadline, server, inputs)
            subject.programs.load(deadline, server, max_concurrency=1, **DECODES)
            subject.programs.load(deadline, server, max_concurrency=64, num_prompts=128, **chat)
            subject.programs.load(deadline, server, max_concurrency=256, num_prompts=512, **chat)
        for name, (first, _) in PROFILES.items():
            yield from _profile(subject, name, directory / f"rank-0-step-{first}.json")

    return check


def _profile(subject, name, path):
    profile = Profile(path)
    subject.profiles[name] = profile.document()
    num_steps = len(profile.starts)
    yield fact(f"profile of {name}", num_steps > 0, f"{num_steps} steps, the GPU busy {profile.busy_share():.1%} of the time")
    if (gap := profile.gap_share()) is not None:
        yield figure(f"{name}, gap between steps on the GPU, share of the step", gap, 0.03, at_most=True)


def _logits(subject, deadline, server, peer):
    """The last logits beside transformers' on the same GPU: as near to float32 as transformers' own."""
    if not peer.found:
        yield Outcome("logits beside transformers'", UNMEASURED, "transformers gave none")
        return
    _, ours = subject.programs.forward(deadline, server, peer.found["prompts"])
    own = largest_distance(ours, peer.found["float32"])
    noise = largest_distance(peer.found["same_dtype"], peer.found["float32"])
    yield figure("logits' distance from float32, in that of transformers", own / noise if noise else float(own > 0), 1.5, at_most=True)


def _forward(subject, deadline, server, batches, config, peer_seconds):
    for batch in batches:
        inputs = prompts(batch, config["vocab_size"])
        seconds = sorted(subject.programs.forward(deadline, server, inputs)[0] for _ in range(4))[1]
        subject.forward_seconds[batch] = seconds
        yield figure(f"forward of {batch} × {PROMPT_TOKENS} tokens, ms", seconds * 1000)
        if subject.peak and batch == 4:
            yield figure("forward at batch 4, share of the GPU's peak", forward_operations(config, batch) / seconds / subject.peak, 0.7)
        if batch in peer_seconds:
            yield figure(f"forward at batch {batch}, times as fast as transformers (torch.compile)", peer_seconds[batch] / seconds, 1)


def _decode(subject, deadline, server, bytes_per_step):
    run = subject.programs.load(deadline, server, max_concurrency=1, **DECODES)
    step = run["tpot_seconds"]["p50"]
    yield figure("decode at batch 1, tokens per second", 1 / step)
    if subject.bandwidth:
        yield figure("decode at batch 1, share of the memory's limit", bytes_per_step / subject.bandwidth / step, 0.8)


def _chat_lengths(max_length):
    """As ShareGPT has them in the mean; in a small model, what fits."""
    return {"random_input_len": min(220, max_length // 4), "random_output_len": min(200, max_length // 4), "random_range_ratio": 0.9}


def _serving(subject, deadline, server, max_length):
    lengths = _chat_lengths(max_length)
    num_prompts = 320 if subject.device == "cuda" else 64
    run = subject.programs.load(deadline, server, max_concurrency=64, num_prompts=num_prompts, **lengths)
    yield figure("64 streams, time between tokens while prompts arrive, p99 in ms", run["itl_seconds"]["p99"] * 1000, subject.aim(25), at_most=True)
    before = subject.memory_mib() if subject.device == "cuda" else None
    run = subject.programs.load(deadline, server, max_concurrency=256, num_prompts=5 * num_prompts, **lengths)
    yield figure("saturated, tokens per second in answers of a chat's lengths", run["output_tokens_per_second"], subject.aim(SATURATED_TOKENS))
    if before is not None:
        yield figure("GPU memory gained while saturated, MiB", subject.memory_mib() - before, 32, at_most=True)


def distance(a, b):
    """Relative root-mean-square difference."""
    return (sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) / sum(y * y for y in b)) ** 0.5


def largest_distance(a, b):
    """Of the pairs of two lists; not a number where one is not."""
    distances = [distance(x, y) for x, y in zip(a, b, strict=True)]
    return math.nan if any(map(math.isnan, distances)) else max(distances)

