"""`lockstep bench serve` and `lockstep status --watch` against a running server.

    bench_test.py CLIENT_BINARY SERVER_BINARY MODEL_DIR
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import xml.etree.ElementTree

import running_server

TIMEOUT = 60
ARGUMENTS = {}


def setUpModule():
    ARGUMENTS["dir"] = tempfile.mkdtemp()
    ARGUMENTS["model"] = running_server.with_long_context(ARGUMENTS["model"], ARGUMENTS["dir"])
    ARGUMENTS["server"] = running_server.RunningServer(
        ARGUMENTS["server_binary"], ARGUMENTS["model"], "--kv-cache-memory", "512MiB", "--max-num-seqs", "8",
        "--max-queued-requests", "8")


def tearDownModule():
    ARGUMENTS["server"].stop()
    shutil.rmtree(ARGUMENTS["dir"])


def command(*arguments):
    return [ARGUMENTS["client"], "--target", ARGUMENTS["server"].address, *arguments]


def bench(*arguments):
    return subprocess.run(command("bench", "serve", *arguments), capture_output=True, text=True, timeout=TIMEOUT)


def in_dir(name):
    return os.path.join(ARGUMENTS["dir"], name)


class BenchServeTest(unittest.TestCase):
    def test_a_sweep_completes_everything_and_writes_figures_and_chart(self):
        result = bench("--max-concurrency", "1,4", "--num-prompts", "12", "--random-input-len", "24", "--random-output-len", "8",
                       "--goodput", "e2el:60000", "--output", in_dir("figures.json"), "--chart", in_dir("chart.svg"))
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("concurrency 4: 12 of 12 requests completed", result.stdout)
        with open(in_dir("figures.json")) as file:
            runs = json.load(file)["runs"]
        self.assertEqual([run["name"] for run in runs], ["concurrency 1", "concurrency 4"])
        for run in runs:
            self.assertEqual(run["requests"], {"sent": 12, "completed": 12, "refused": 0, "failed": 0, "cancelled": 0})
            self.assertEqual((run["input_tokens"], run["output_tokens"], run["cached_tokens"]), (288, 96, 0))
            self.assertEqual(run["itl_seconds"]["count"], 12 * 7)
            self.assertEqual(run["good_requests"], 12)
            for name in ("ttft_seconds", "tpot_seconds", "itl_seconds", "e2el_seconds"):
                figures = run[name]
                ordered = [figures[key] for key in ("p50", "p90", "p95", "p99", "max")]
                self.assertEqual(ordered, sorted(ordered))
                self.assertGreater(figures["mean"], 0)
        svg = xml.etree.ElementTree.parse(in_dir("chart.svg")).getroot()
        self.assertEqual(len(svg.findall("{http://www.w3.org/2000/svg}polyline")), 4)

    def test_a_run_again_finds_nothing_in_the_cache(self):
        for _ in range(2):
            run = json.loads(bench("--json", "--num-prompts", "2", "--random-input-len", "64", "--random-output-len", "2").stdout)["runs"][0]
            self.assertEqual((run["requests"]["completed"], run["input_tokens"], run["cached_tokens"]), (2, 128, 0))

    def test_what_the_server_refuses_is_counted_apart(self):
        # All at once: more than may run and wait.
        result = bench("--json", "--num-prompts", "200", "--random-input-len", "16", "--random-output-len", "256")
        self.assertEqual(result.returncode, 0, result.stderr)
        requests = json.loads(result.stdout)["runs"][0]["requests"]
        self.assertEqual(requests["completed"] + requests["refused"], 200)
        self.assertGreater(requests["refused"], 0)
        self.assertGreaterEqual(requests["completed"], 8)
        self.assertEqual(requests["failed"], 0)

    def test_a_trace_is_sent_with_its_lengths(self):
        with open(in_dir("trace.csv"), "w") as file:
            file.write("TIMESTAMP,ContextTokens,GeneratedTokens\n0.0,20,4\n0.05,30,5\n0.1,10,6\n")
        result = bench("--json", "--trace", in_dir("trace.csv"))
        self.assertEqual(result.returncode, 0, result.stderr)
        run = json.loads(result.stdout)["runs"][0]
        self.assertEqual((run["requests"]["completed"], run["input_tokens"], run["output_tokens"]), (3, 60, 15))
        self.assertGreaterEqual(run["duration_seconds"], 0.1)

    def test_a_traces_own_prompts_are_sent(self):
        prompt = list(range(100, 148))
        with open(in_dir("prompts.jsonl"), "w") as file:
            for at in (0, 0.01, 0.02):
                file.write(json.dumps({"timestamp": at, "token_ids": prompt, "output_length": 4}) + "\n")
        # One after the other, so that the later two find the first one's blocks.
        result = bench("--json", "--trace", in_dir("prompts.jsonl"), "--max-concurrency", "1")
        self.assertEqual(result.returncode, 0, result.stderr)
        run = json.loads(result.stdout)["runs"][0]
        self.assertEqual(run["name"], in_dir("prompts.jsonl") + ", concurrency 1")
        self.assertEqual((run["requests"]["completed"], run["input_tokens"], run["output_tokens"]), (3, 144, 12))
        self.assertGreater(run["cached_tokens"], 0)

    def test_a_request_that_fails_shows_in_the_exit_code(self):
        with open(in_dir("beyond.jsonl"), "w") as file:
            for token_id in (100, 4_000_000):
                file.write(json.dumps({"timestamp": 0, "token_ids": [token_id], "output_length": 2}) + "\n")
        result = bench("--json", "--trace", in_dir("beyond.jsonl"))
        self.assertEqual(result.returncode, 1)
        run = json.loads(result.stdout)["runs"][0]
        self.assertEqual((run["requests"]["completed"], run["requests"]["failed"]), (1, 1))

    def test_the_figures_of_a_sweep_are_one_line_of_json(self):
        result = bench("--json", "--max-concurrency", "1,2", "--num-prompts", "2", "--random-input-len", "8", "--random-output-len", "2")
        (line,) = result.stdout.splitlines()
        self.assertEqual(len(json.loads(line)["runs"]), 2)

    def test_num_prompts_shortens_a_trace(self):
        with open(in_dir("three.csv"), "w") as file:
            file.write("TIMESTAMP,ContextTokens,GeneratedTokens\n0,20,4\n0,30,5\n0,10,6\n")
        run = json.loads(bench("--json", "--trace", in_dir("three.csv"), "--num-prompts", "2").stdout)["runs"][0]
        self.assertEqual((run["requests"]["sent"], run["input_tokens"], run["output_tokens"]), (2, 50, 9))

    def test_arrivals_wait_for_a_place_where_both_are_given(self):
        result = bench("--json", "--request-rate", "1000", "--max-concurrency", "1", "--num-prompts", "8", "--random-input-len", "8",
                       "--random-output-len", "8")
        self.assertEqual(result.returncode, 0, result.stderr)
        run = json.loads(result.stdout)["runs"][0]
        self.assertEqual(run["name"], "1000 requests/s, concurrency 1")
        # One at a time: together they last as long as the run.
        self.assertLessEqual(run["e2el_seconds"]["mean"] * 8, run["duration_seconds"])

    def test_bad_options_are_named(self):
        with open(in_dir("bad.csv"), "w") as file:
            file.write("TIMESTAMP,ContextTokens,GeneratedTokens\nnow,1,1\n")
        for arguments, message in (
            (["--trace", in_dir("trace.csv"), "--request-rate", "3"], "--request-rate"),
            (["--trace", in_dir("trace.csv"), "--random-input-len", "3"], "--random-input-len"),
            (["--burstiness", "0.5"], "--request-rate"),
            (["--goodput", "speed:1"], "speed:1"),
            (["--trace", in_dir("bad.csv")], "bad.csv:2"),
            (["--trace", in_dir("missing.csv")], "missing.csv"),
            (["--random-input-len", "9999999"], "server's limit"),
            (["--max-concurrency", "0"], "--max-concurrency"),
        ):
            result = bench(*arguments)
            self.assertEqual(result.returncode, 2, arguments)
            self.assertIn(message, result.stderr)

    def test_a_file_that_cannot_be_written_is_said_before_the_run(self):
        for option in ["--output", "--chart"]:
            result = bench("--num-prompts", "1", option, in_dir("no-such-folder/file"))
            self.assertEqual((result.returncode, result.stdout), (2, ""))
            self.assertIn("no-such-folder/file", result.stderr)

    def test_ctrl_c_reports_what_was_measured(self):
        process = subprocess.Popen(command("--json", "bench", "serve", "--max-concurrency", "2", "--num-prompts", "1000000",
                                           "--random-input-len", "8", "--random-output-len", "4"),
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        # A line of progress comes every five seconds where there is no terminal.
        self.assertIn("done", process.stderr.readline())
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, 130)
        requests = json.loads(output)["runs"][0]["requests"]
        self.assertGreater(requests["completed"], 0)
        self.assertEqual(requests["failed"], 0)

    def test_a_server_that_is_not_there(self):
        result = subprocess.run([ARGUMENTS["client"], "--target", "127.0.0.1:1", "bench", "serve"], capture_output=True, text=True,
                                timeout=TIMEOUT)
        self.assertEqual(result.returncode, 1)
        self.assertIn("127.0.0.1:1", result.stderr)


class StatusWatchTest(unittest.TestCase):
    def test_lines_follow_one_another_until_ctrl_c(self):
        process = subprocess.Popen(command("status", "--watch", "--interval", "0.05"), stdout=subprocess.PIPE, text=True)
        for _ in range(3):
            self.assertRegex(process.stdout.readline(), r"^ready: \d+ running, \d+ waiting, .* tokens/s generated, .*KV cache .* %")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, 0)

    def test_a_server_that_is_not_there_is_waited_for(self):
        process = subprocess.Popen([ARGUMENTS["client"], "--target", "127.0.0.1:1", "status", "--watch", "--interval", "0.05"],
                                   stdout=subprocess.PIPE, text=True)
        self.assertIn("unreachable (UNAVAILABLE), retrying 127.0.0.1:1", process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, 0)

    def test_a_server_that_is_not_there_is_a_line_of_json_too(self):
        process = subprocess.Popen([ARGUMENTS["client"], "--target", "127.0.0.1:1", "--json", "status", "--watch", "--interval", "0.05"],
                                   stdout=subprocess.PIPE, text=True)
        for _ in range(2):
            self.assertEqual(json.loads(process.stdout.readline())["error"]["code"], "UNAVAILABLE")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, 0)

    def test_ctrl_c_does_not_wait_for_a_server_that_does_not_answer(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            watch = subprocess.Popen([ARGUMENTS["client"], "--target", f"127.0.0.1:{silent.getsockname()[1]}", "status", "--watch"],
                                     stdout=subprocess.PIPE, text=True)
            connection, _ = silent.accept()
            begin = time.monotonic()
            watch.send_signal(signal.SIGINT)
            output, _ = watch.communicate(timeout=TIMEOUT)
            connection.close()
        self.assertEqual((watch.returncode, output), (0, ""))
        self.assertLess(time.monotonic() - begin, 4, "the call's own limit is 5 s")

    def test_a_look_takes_no_longer_than_the_timeout(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            begin = time.monotonic()
            watch = subprocess.Popen([ARGUMENTS["client"], "--target", f"127.0.0.1:{silent.getsockname()[1]}", "--timeout", "0.3",
                                      "status", "--watch"], stdout=subprocess.PIPE, text=True)
            self.assertIn("unreachable (DEADLINE_EXCEEDED)", watch.stdout.readline())
            self.assertLess(time.monotonic() - begin, 4, "without --timeout the limit is 5 s")
            watch.send_signal(signal.SIGTERM)
            watch.communicate(timeout=TIMEOUT)

    def test_an_interval_without_watch_is_refused(self):
        result = subprocess.run(command("status", "--interval", "2"), capture_output=True, text=True, timeout=TIMEOUT)
        self.assertEqual(result.returncode, 2)
        self.assertIn("--watch", result.stderr)


if __name__ == "__main__":
    ARGUMENTS.update(zip(["client", "server_binary", "model"], sys.argv[1:4], strict=True))
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]], verbosity=2)
