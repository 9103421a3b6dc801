"""Checks workload, figures, page and the client of llama.cpp's streams, without a model: PYTHONPATH=tests/benchmarks python3 tests/benchmarks/serve/serve_test.py"""

import asyncio
import contextlib
import io
import json
import pathlib
import sys
import tempfile
import types
import unittest
import xml.etree.ElementTree

import options as command_line
import report
import workload
from harness.children import BenchmarkError
from harness.peer_processes import PeerProcesses
from llama_cpp_side import StreamLoad
from summary import Results, percentile, summarize, times_better

LENGTHS = types.SimpleNamespace(input_len=10, output_len=4)


class WorkloadTest(unittest.TestCase):
    def test_a_seed_gives_the_same_requests_and_another_seed_other_ones(self):
        first, again, other = (workload.make(LENGTHS, 100, 20, seed, rate=5) for seed in (1, 1, 2))
        self.assertEqual(first, again)
        self.assertNotEqual(first, other)

    def test_lengths_stay_within_half_of_their_mean(self):
        for request in workload.make(LENGTHS, 100, 500, seed=1):
            self.assertTrue(5 <= len(request["token_ids"]) <= 15 and 2 <= request["output_length"] <= 6)
            self.assertTrue(all(0 <= token < 100 for token in request["token_ids"]))

    def test_without_a_rate_all_are_due_at_once_and_with_one_they_come_at_it(self):
        self.assertEqual({request["timestamp"] for request in workload.make(LENGTHS, 100, 20, seed=1)}, {0.0})
        times = [request["timestamp"] for request in workload.make(LENGTHS, 100, 4000, seed=1, rate=5)]
        self.assertEqual(times, sorted(times))
        self.assertAlmostEqual(times[-1], 800, delta=40)

    def test_the_file_is_a_trace_of_lockstep_bench_serve(self):
        requests = workload.make(LENGTHS, 100, 3, seed=1, rate=5)
        with tempfile.NamedTemporaryFile() as file:
            workload.write(requests, file.name)
            self.assertEqual([json.loads(line) for line in file], requests)


class SummaryTest(unittest.TestCase):
    def test_percentiles_lie_between_the_closest_ranks(self):
        self.assertEqual(percentile([1.0, 2.0, 4.0], 0.5), 2.0)
        self.assertEqual(percentile([1.0, 2.0, 4.0], 0.75), 3.0)
        self.assertEqual(percentile([7.0], 0.99), 7.0)

    def test_latencies_count_from_when_a_request_should_have_been_sent(self):
        found = summarize([{"intended": 1.0, "arrivals": [1.5, 1.75, 2.25]}, {"intended": 0.0, "arrivals": [0.25]}], seconds=2.0)
        self.assertEqual((found["output_tokens"], found["output_tokens_per_second"], found["requests_per_second"]), (4, 2.0, 1.0))
        self.assertEqual((found["ttft_p50"], found["itl_p50"], found["tpot_p50"]), (0.375, 0.375, 0.375))

    def test_a_ratio_is_the_median_of_the_rounds_ratios(self):
        results = Results()
        for ours, theirs in ((2.0, 1.0), (30.0, 10.0), (4.0, 1.0)):
            results.record(model="m", load="l", side="lockstep", speed=ours)
            results.record(model="m", load="l", side="llama.cpp", speed=theirs)
        self.assertEqual(times_better(results, "speed", True, "m", "l", "llama.cpp"), 3.0)
        self.assertAlmostEqual(times_better(results, "speed", False, "m", "l", "llama.cpp"), 1 / 3)
        self.assertIsNone(times_better(results, "speed", True, "m", "l", "transformers"))


def make_benchmark():
    """Three rounds: Lockstep's figures are better than transformers' and its throughput is half of llama.cpp's, which ran only with one model."""
    results = Results()
    models = []
    for name, unavailable in (("large", {}), ("small", {"llama.cpp": "no compiler"})):
        rates = dict.fromkeys(report.OPEN_LOOPS, 2.0)
        facts = {
            "config": {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100},
            "versions": {side: "1.0" for side in command_line.SIDES if side not in unavailable}, "commands": dict.fromkeys(command_line.SIDES, "serve"),
            "memory_bytes": dict.fromkeys(command_line.SIDES, 1e9), "unavailable": unavailable, "rates": rates,
            "agreement": {"num_answers": 8, "tokens": 24, "same_as_lockstep": {"transformers": 8}},
        }  # fmt: skip
        models.append(types.SimpleNamespace(name=name, facts=facts))
        for number in range(3):
            for load in [report.closed(1), report.closed(8), *rates]:
                for side in facts["versions"]:
                    factor = {"lockstep": 1.0, "transformers": 2.0, "llama.cpp": 0.5}[side]
                    latencies = dict.fromkeys(("ttft_p50", "ttft_p99", "tpot_p50", "itl_p50", "itl_p99"), 0.01 * max(factor, 1.0))
                    results.record(model=name, load=load, side=side, round=number, output_tokens_per_second=100 / factor,
                                   output_tokens=50, cpu_seconds=0.5, **latencies)  # fmt: skip
    options = types.SimpleNamespace(concurrency=[1, 8], sides=command_line.SIDES, cores=2, input_len=128, output_len=64, repeats=3)
    return types.SimpleNamespace(results=results, models=models, options=options, others_share=0.01)


FACTS = {"date": "2026-01-01 00:00 UTC", "commit": "abc", "cpu": "some", "cores": 2, "isa": [], "memory_bytes": 2**30, "kernel": "6"}


class ReportTest(unittest.TestCase):
    def test_the_page_says_where_lockstep_is_behind_and_what_was_not_measured(self):
        page = report.markdown(make_benchmark(), FACTS, "scripts/bench serve")
        self.assertIn("| 8 at once | llama.cpp (llama-server) | **0.50 ×** | 1.00 × |", page)
        self.assertIn("| 8 at once | transformers (continuous batching) | 2.00 × | 2.00 × |", page)
        self.assertIn("Lockstep is behind in: output tokens/s at 1 at once: 0.50 × of llama.cpp (llama-server);", page)
        self.assertIn("Lockstep is behind in none of them.", page)
        self.assertIn("llama.cpp (llama-server): **not measured**: no compiler", page)

    def test_the_chart_is_svg_and_names_what_is_unmeasured(self):
        root = xml.etree.ElementTree.fromstring(report.svg(make_benchmark(), FACTS))
        texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
        self.assertEqual(texts.count("unmeasured"), 2)
        self.assertIn("small", texts)

    def test_a_busy_machine_is_named(self):
        benchmark = make_benchmark()
        benchmark.others_share = 0.4
        self.assertIn("40% of the machine's CPU time meanwhile; **figures are distorted**", report.markdown(benchmark, FACTS, ""))


class OptionsTest(unittest.TestCase):
    def refuse(self, *arguments):
        with contextlib.redirect_stderr(io.StringIO()) as stderr, self.assertRaises(SystemExit):
            command_line.parse(list(arguments))
        return stderr.getvalue()

    def test_what_is_wrong_is_named(self):
        self.assertIn("--sides", self.refuse("--sides", "vllm"))
        self.assertIn("--model", self.refuse("--model", "/nowhere"))
        self.assertIn("leave --model out", self.refuse("--quick", "--model", "/nowhere"))
        self.assertIn("do not fit into the 512", self.refuse("--quick", "--input-len", "400"))


class FakeStreams:
    """Answers /completion with events that are torn over chunks, as HTTP allows; counts how many it serves at once."""

    def __init__(self, status=b"200 OK", num_missing=0):
        self.most_at_once = self._at_once = 0
        self._status, self._num_missing = status, num_missing

    async def serve(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        request = json.loads(await reader.readexactly(length))
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        events = b"".join(b'data: {"tokens": [%d]}\n\n' % (request["prompt"][0] + i) for i in range(request["n_predict"] - self._num_missing))
        events += b'data: {"tokens": [], "stop": true}\n\n'
        writer.write(b"HTTP/1.1 " + self._status + b"\r\nTransfer-Encoding: chunked\r\n\r\n")
        for start in range(0, len(events), 7):
            piece = events[start : start + 7]
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        writer.write(b"0\r\n\r\n")
        self._at_once -= 1
        writer.close()


def load(streams, requests, concurrency):
    async def run():
        server = await asyncio.start_server(streams.serve, "127.0.0.1", 0)
        async with server:
            return await StreamLoad(server.sockets[0].getsockname()[1], requests, concurrency).run()

    return asyncio.run(run())


class StreamLoadTest(unittest.TestCase):
    REQUESTS = [{"timestamp": 0.0, "token_ids": [10 * i], "output_length": 3} for i in range(1, 6)]

    def test_every_answer_has_its_tokens_and_a_time_for_each(self):
        answers, seconds = load(FakeStreams(), self.REQUESTS, None)
        self.assertEqual([answer["token_ids"] for answer in answers], [[10 * i, 10 * i + 1, 10 * i + 2] for i in range(1, 6)])
        for answer in answers:
            self.assertEqual(answer["intended"], 0.0)
            self.assertEqual(answer["arrivals"], sorted(answer["arrivals"]))
            self.assertEqual(len(answer["arrivals"]), 3)
            self.assertLessEqual(answer["arrivals"][-1], seconds)

    def test_no_more_are_under_way_than_the_limit(self):
        streams = FakeStreams()
        load(streams, self.REQUESTS, 1)
        self.assertEqual(streams.most_at_once, 1)

    def test_an_error_and_a_short_answer_are_told(self):
        with self.assertRaisesRegex(BenchmarkError, "500 No"):
            load(FakeStreams(status=b"500 No"), self.REQUESTS, 1)
        with self.assertRaisesRegex(BenchmarkError, "gave 2 tokens, 3 were asked for"):
            load(FakeStreams(num_missing=1), self.REQUESTS, None)


ECHO = """
import socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
lines = connection.makefile("rw")
lines.write('{"hello": 1}\\n'); lines.flush()
for line in lines:
    if "leave" in line: sys.exit("left in anger")
    lines.write(line); lines.flush()
"""


class PeerProcessesTest(unittest.TestCase):
    def test_a_peer_answers_until_it_ends_and_its_last_words_are_told(self):
        with tempfile.TemporaryDirectory() as directory:
            log = pathlib.Path(directory) / "log"
            peer = PeerProcesses("peer", lambda path: [sys.executable, "-c", ECHO, path], 1, log, start_seconds=60)
            try:
                self.assertEqual(peer.hellos, [{"hello": 1}])
                self.assertEqual(peer.run(60, op="echo"), [{"op": "echo"}])
                with self.assertRaisesRegex(BenchmarkError, "left in anger"):
                    peer.run(60, op="leave")
            finally:
                peer.stop()


if __name__ == "__main__":
    unittest.main()
