"""What the check of a GPU machine is made of, without a GPU; and all of it on the CPU, with the bundled model."""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import types
import unittest

from harness.children import BenchmarkError
from harness.lockstep_server import LockstepServer

from gpu_check import checks, main, pack, report
from gpu_check.lockstep import Programs
from gpu_check.outcome import FAILED, MEASURED, PASSED, UNMEASURED, Checks, Outcome, Unmeasured, figure
from gpu_check.profile import Profile

LLAMA_3_8B = {"hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336,
              "num_hidden_layers": 32, "vocab_size": 128256}  # fmt: skip


class ChecksTest(unittest.TestCase):
    def run_checks(self, seconds, *bodies):
        todo = Checks(seconds)
        for number, body in enumerate(bodies):
            todo.run(f"check {number}", body, 60)
        return [(outcome.name, outcome.status) for outcome in todo.outcomes]

    def test_a_check_that_fails_keeps_what_it_found_and_the_others_run(self):
        def fails(deadline):
            yield figure("found", 1)
            raise RuntimeError("a kernel failed")

        def is_not_possible(deadline):
            raise Unmeasured("there is no GPU")
            yield

        outcomes = self.run_checks(60, fails, is_not_possible, lambda deadline: [figure("last", 2)])
        self.assertEqual(outcomes, [("found", MEASURED), ("check 0", FAILED), ("check 1", UNMEASURED), ("last", MEASURED)])

    def test_what_the_time_does_not_suffice_for_is_unmeasured(self):
        self.assertEqual(self.run_checks(1, lambda deadline: [figure("never", 1)]), [("check 0", UNMEASURED)])

    def test_what_fails_when_the_time_for_all_is_over_is_unmeasured(self):
        todo = Checks(60)

        def is_cut_short(deadline):
            todo.deadline = time.monotonic()
            raise RuntimeError("a request timed out")

        todo.run("speed", is_cut_short, 60)
        self.assertEqual([outcome.status for outcome in todo.outcomes], [UNMEASURED])

    def test_what_was_found_is_saved_after_each_check(self):
        saved = []
        todo = Checks(60)
        options = main.parse(["--bin", "x", "--device", "cpu", "--only", "kernel_speed,profile"])
        peer = types.SimpleNamespace(run=lambda batches: None)
        save = lambda to_come: saved.append((len(todo.outcomes), to_come))  # noqa: E731
        main.run_checks(options, todo, types.SimpleNamespace(device="cpu"), main.BundledModel(), peer, save)
        self.assertEqual(saved, [(1, ["profile"]), (2, [])])

    def answers(self, gpu_answers):
        """Of servers of which the GPU's give `gpu_answers(question, whether it came alone)`."""
        together = threading.Barrier(len(checks.QUESTIONS), timeout=30)

        def answer(_, server, question, num_tokens):
            is_alone = threading.current_thread() is threading.main_thread()
            if not is_alone:
                together.wait()
            return gpu_answers(question, is_alone) if server == "gpu" else [len(question), num_tokens]

        programs = types.SimpleNamespace(answer=answer, serve=lambda *_: contextlib.nullcontext("cpu"))
        subject = types.SimpleNamespace(device="cuda", small="", programs=programs, serve=lambda *_: contextlib.nullcontext("gpu"))
        outcomes = checks.answers(subject)(time.monotonic() + 60)
        return {outcome.name.removeprefix("answers in float32, "): outcome.status for outcome in outcomes}

    def test_questions_are_asked_one_by_one_and_all_at_once(self):
        ways = ["recorded graphs", "recorded graphs, all at once", "two ranks", "no graphs (--enforce-eager)", "no graphs (--enforce-eager), all at once"]
        found = self.answers(lambda question, is_alone: [len(question), checks.ANSWER_TOKENS])
        self.assertEqual(found, {f"{way}: as on the CPU": PASSED for way in ways})
        found = self.answers(lambda question, is_alone: [len(question), checks.ANSWER_TOKENS if is_alone else 0])
        self.assertEqual(found, {f"{way}: as on the CPU": FAILED if "at once" in way else PASSED for way in ways})

    def endurance(self, seconds_left, seconds):
        """Of a server that takes one step a round."""
        steps = iter(range(1_000_000))
        programs = types.SimpleNamespace(load=lambda *_, **__: None, num_steps=lambda _: next(steps))
        subject = types.SimpleNamespace(device="cuda", small="", programs=programs, aim=lambda value: value, memory_mib=lambda: 0.0)
        subject.serve = lambda *_: contextlib.nullcontext()
        outcomes = checks.endurance(subject, seconds)(time.monotonic() + seconds_left)
        return {outcome.name: outcome.status for outcome in outcomes}

    def test_too_few_steps_fail_only_where_the_time_was_there(self):
        steps, memory = "steps in rounds of requests, one after another", "GPU memory gained in these steps, MiB"
        self.assertEqual(self.endurance(seconds_left=1000, seconds=15), {steps: FAILED, memory: PASSED})
        self.assertEqual(self.endurance(seconds_left=15, seconds=1000), {steps: UNMEASURED, memory: PASSED})

    def test_a_figure_is_held_against_its_aim(self):
        self.assertEqual(figure("share", 0.79, 0.8).status, FAILED)
        self.assertEqual(figure("share", 0.81, 0.8).status, PASSED)
        self.assertEqual(figure("ms", 26, 25, at_most=True).status, FAILED)
        self.assertEqual(figure("ms", 24, 25, at_most=True).aim, "≤ 25")
        self.assertEqual(figure("ms", 24).status, MEASURED)

    def test_a_decode_of_llama_3_8b_reads_15_gigabytes(self):
        self.assertAlmostEqual(2 * checks.parameters_read(LLAMA_3_8B) / 1e9, 15.0, delta=0.05)

    def test_a_forward_of_llama_3_8b_at_batch_4_is_29_teraflop(self):
        self.assertAlmostEqual(checks.forward_operations(LLAMA_3_8B, 4) / 1e12, 28.9, delta=0.1)

    def test_the_distance_of_logits_is_relative(self):
        self.assertAlmostEqual(checks.distance([3.0, 4.4], [3.0, 4.0]), 0.08)
        self.assertAlmostEqual(checks.largest_distance([[3.0, 4.0], [3.0, 4.4]], [[3.0, 4.0], [3.0, 4.0]]), 0.08)

    def test_logits_that_are_missing_or_no_numbers_are_at_no_distance(self):
        with self.assertRaises(ValueError):
            checks.distance([3.0], [3.0, 4.0])
        with self.assertRaises(ValueError):
            checks.largest_distance([[3.0]], [[3.0], [4.0]])
        found = checks.largest_distance([[1.0], [float("nan")]], [[1.0], [1.0]])
        self.assertEqual(figure("distance", found, 1.5, at_most=True).status, FAILED)

    def statuses_of_answers(self, answer):
        """Of servers that all answer alike."""
        programs = types.SimpleNamespace(answer=lambda *_: answer, serve=lambda *_: contextlib.nullcontext())
        subject = types.SimpleNamespace(device="cpu", small="", programs=programs, serve=lambda *_: contextlib.nullcontext())
        return {outcome.status for outcome in checks.answers(subject)(time.monotonic() + 60)}

    def test_answers_without_tokens_are_not_the_same(self):
        self.assertEqual(self.statuses_of_answers([1, 2]), {PASSED})
        self.assertEqual(self.statuses_of_answers([]), {FAILED})


class ProgramsTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)

    def program(self, name, script):
        path = self.directory / name
        path.write_text(f"#!/bin/bash\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
        return name

    def test_a_test_binary_that_hangs_or_crashes_does_not_keep_the_others_from_running(self):
        result = json.dumps({"testsuites": [{"testsuite": [{"name": "works", "result": "COMPLETED"}]}]})
        names = [self.program("hangs", "echo '[ RUN ] Hung.Test'; sleep 100"), self.program("crashes", "echo '[ RUN ] Crashed.Test'; kill -ABRT $$"),
                 self.program("passes", f"echo '{result}' > ${{2#--gtest_output=json:}}")]  # fmt: skip
        subject = types.SimpleNamespace(programs=Programs(self.directory, {}, self.directory))
        outcomes = list(checks.kernels(subject, names, "*")(time.monotonic() + 6))
        self.assertEqual([(outcome.name, outcome.status) for outcome in outcomes], [("hangs", FAILED), ("crashes", FAILED), ("passes", PASSED)])
        self.assertRegex(outcomes[0].value, r"had not ended after 2 s.*Hung\.Test")
        self.assertRegex(outcomes[1].value, r"ended with -6.*Crashed\.Test")

    def test_a_program_that_fails_is_shown_by_the_last_line_of_its_log(self):
        programs = Programs(self.directory, {}, self.directory)
        self.assertEqual(programs.output(time.monotonic() + 10, self.program("prints", "echo 7; echo beside >&2")), "7\n")
        with self.assertRaisesRegex(RuntimeError, "fails ended with 3; its log ends with no GPU"):
            programs.output(time.monotonic() + 10, self.program("fails", "echo no GPU >&2; exit 3"))

    def test_a_server_that_neither_gets_ready_nor_ends_is_killed(self):
        began = time.monotonic()
        with self.assertRaisesRegex(BenchmarkError, "was not ready"):
            LockstepServer(["bash", "-c", "trap '' TERM; while :; do sleep 1; done"], self.directory / "log", 0.2)
        self.assertLess(time.monotonic() - began, 30)

    def test_a_server_that_ends_early_is_shown_by_its_log(self):
        with self.assertRaisesRegex(BenchmarkError, "(?s)ended with status 2 before it was ready.*no such model"):
            LockstepServer(["bash", "-c", "echo no such model >&2; exit 2"], self.directory / "log", 20)


class ProfileTest(unittest.TestCase):
    def trace(self, *kernels):
        events = [{"cat": "kernel", "name": name, "ts": begin, "dur": length} for name, begin, length in kernels]
        events.append({"cat": "cuda_runtime", "name": "cudaGraphLaunch", "ts": 0, "dur": 1000})
        path = pathlib.Path(tempfile.mkdtemp()) / "trace.json"
        path.write_text(json.dumps({"traceEvents": events}), encoding="utf-8")
        self.addCleanup(shutil.rmtree, path.parent)
        return Profile(path)

    def test_finds_the_gaps_between_steps_and_what_took_the_time(self):
        first, last = "void lockstep::worker::cuda::EmbeddingKernel<float>(Arguments)", "lockstep::(anonymous namespace)::StoreTokensKernel(X)"
        profile = self.trace((first, 0, 10), ("gemm", 10, 80), (last, 90, 5), (first, 100, 10), ("gemm", 110, 80), (last, 190, 5), (first, 197, 3))
        self.assertEqual(profile.gaps, [5, 2])
        self.assertAlmostEqual(profile.gap_share(), 7 / 197)
        self.assertAlmostEqual(profile.busy_share(), 193 / 200)
        self.assertEqual(profile.kernels(1), [["gemm", 0.7, 53.3]])

    def test_steps_that_sample_nothing_have_no_known_gap(self):
        self.assertIsNone(self.trace(("EmbeddingKernel<float>", 0, 10), ("EmbeddingKernel<float>", 20, 10)).gap_share())


class PageTest(unittest.TestCase):
    def test_names_what_is_unmeasured(self):
        facts = {"cpu": "a processor", "cores": 2, "commit": "abc", "date": "today"}
        text = report.page("a GPU", facts, [figure("decode", 0.5, 0.8), figure("forward", 20), Outcome("gap", UNMEASURED, "no profiler", "≤ 0.03")], has_chart=False)
        self.assertIn("| decode | ≥ 0.8 | 0.5 | **no** |", text)
        self.assertIn("| forward |  | 20 | no aim |", text)
        self.assertIn("| gap | ≤ 0.03 | no profiler | unmeasured |", text)
        self.assertIn("0 passed, 1 failed, 1 measured without an aim, 1 unmeasured", text)

    def test_the_chart_says_what_was_not_measured(self):
        self.assertIn("unmeasured", report.chart({1: 0.01, 2: 0.02}, {1: 0.02}, "a GPU"))


class PackTest(unittest.TestCase):
    def test_leaves_out_what_pytorch_and_every_system_have(self):
        for name in ["libc.so.6", "libstdc++.so.6", "libtorch_cpu.so", "libc10.so", "libcudart.so.13", "libnccl.so.2", "libgomp.so.1", "libcublasLt.so.13"]:
            self.assertTrue(pack.LEFT_THERE.match(name), name)
        for name in ["libgrpc++.so.1.51", "libprotobuf.so.32", "libcares.so.2", "libcrypto.so.3", "libabsl_base.so.20220623", "libcurl.so.4"]:
            self.assertFalse(pack.LEFT_THERE.match(name), name)


class WholeTest(unittest.TestCase):
    def test_runs_on_the_cpu_with_the_bundled_model(self):
        with tempfile.TemporaryDirectory() as directory:
            command = [sys.executable, "-m", "gpu_check.main", "--device", "cpu", "--bin", os.environ["LOCKSTEP_BINARIES"], "--shape", "demo",
                       "--batches", "1,2", "--tests", "OpenDeviceTest.*", "--endurance-seconds", "25", "--output", directory, "--logs", f"{directory}/logs"]  # fmt: skip
            proxies = {"http_proxy": "http://127.0.0.1:9", "no_proxy": "", "NO_PROXY": "", "no_grpc_proxy": ""}  # nobody is there
            done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env={**os.environ, **proxies})
            document = json.loads((pathlib.Path(directory) / "report.json").read_text(encoding="utf-8"))
            status = {outcome["name"]: outcome["status"] for outcome in document["outcomes"]}
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(status["worker_device_test"], PASSED)
            for name in ["recorded graphs", "recorded graphs, all at once", "two ranks"]:
                self.assertEqual(status[f"answers in float32, {name}: as on the CPU"], PASSED)
            self.assertEqual(set(document["forward_seconds"]), {"1", "2"})
            steps = next(outcome for outcome in document["outcomes"] if outcome["name"].startswith("steps in rounds"))
            self.assertGreater(float(steps["value"].replace(",", "")), 100)

    def test_checks_can_be_chosen(self):
        self.assertEqual(main.parse(["--bin", "x", "--only", "speed,answers"]).only, ["speed", "answers"])
        with self.assertRaises(SystemExit):
            main.parse(["--bin", "x", "--only", "sped"])

    @unittest.skipIf(shutil.which("nvidia-smi"), "there may be a GPU")
    def test_a_machine_without_a_gpu_is_an_error_in_words(self):
        with tempfile.TemporaryDirectory() as directory:
            command = [sys.executable, "-m", "gpu_check.main", "--bin", os.environ["LOCKSTEP_BINARIES"], "--shape", "demo", "--logs", directory]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("no GPU answers here", done.stderr)
        self.assertNotIn("Traceback", done.stderr)

    def test_an_option_that_is_unknown_is_refused(self):
        with self.assertRaises(SystemExit):
            main.parse(["--bin", "x", "--devise", "cpu"])


if __name__ == "__main__":
    unittest.main()
