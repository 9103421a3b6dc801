"""Clients that go away in every phase of a request, against the real server: slot and blocks are free, and others untouched.

    cancellation_test.py SERVER_BINARY MODEL_DIR PROTO_DIR GOOGLE_PROTO_DIR
"""

import re
import sys
import tempfile
import time
import unittest
import urllib.request

import grpc

from running_server import RunningServer, generated_modules, with_long_context

TIMEOUT = 60
ARGUMENTS = {}
# At 16 tokens per step it is being prefilled for over a thousand steps.
LONG_PROMPT = list(range(3, 203)) * 100
ENDLESS_REGEX = "[a-z ]+"


class CancellationTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        cls.scratch = tempfile.TemporaryDirectory()
        cls.modules = generated_modules(ARGUMENTS["proto"], ARGUMENTS["google"], cls.scratch.name)
        model = with_long_context(ARGUMENTS["model"], cls.directory.name)
        cls.server = RunningServer(ARGUMENTS["server"], model, "--max-num-seqs", "2", "--max-num-batched-tokens", "16")
        cls.inference = cls.modules["inference_pb2_grpc"].InferenceStub(cls.server.channel)
        cls.admin = cls.modules["admin_pb2_grpc"].AdminStub(cls.server.channel)

    @classmethod
    def tearDownClass(cls):
        status = cls.server.stop()
        cls.directory.cleanup()
        cls.scratch.cleanup()
        assert status == 0, f"exit status {status}:\n{cls.server.log()}"

    def setUp(self):
        self.wait_until("the server is idle", lambda info: info.num_running == info.num_waiting == info.kv_blocks_used == 0)
        self.cancelled_before = self.num_measured()

    def stream(self, token_ids=(5, 6, 7), timeout=TIMEOUT, **fields):
        request = self.modules["generate_pb2"].GenerateRequest(
            token_ids={"ids": token_ids}, sampling={"temperature": 0.0}, cache={"bypass": True},
            stopping={"ignore_eos": True, "max_new_tokens": 12000}, **fields)
        return self.inference.GenerateStream(request, timeout=timeout)

    def info(self):
        return self.admin.GetServerInfo(self.modules["admin_pb2"].GetServerInfoRequest(), timeout=TIMEOUT)

    def wait_until(self, what, reached):
        deadline = time.monotonic() + TIMEOUT
        while not reached(info := self.info()):
            self.assertLess(time.monotonic(), deadline, f"not reached: {what}; now {info}")
            time.sleep(0.01)
        return info

    def num_measured(self):
        with urllib.request.urlopen(f"http://{self.server.metrics_address}/metrics", timeout=TIMEOUT) as response:
            text = response.read().decode()
        return int(re.search(r"^lockstep_cancel_to_free_seconds_count (\d+)$", text, re.M).group(1))

    def expect_end(self, stream, code):
        with self.assertRaises(grpc.RpcError) as raised:
            list(stream)
        self.assertEqual(raised.exception.code(), code)

    def expect_all_free(self, num_cancelled):
        self.wait_until("everything is free", lambda info: info.num_running == info.num_waiting == info.kv_blocks_used == 0)
        self.assertEqual(self.num_measured() - self.cancelled_before, num_cancelled)

    def expect_going_on(self, stream):
        self.assertTrue(next(stream).HasField("delta"))

    def test_while_it_waits_in_the_queue(self):
        running = [self.stream(), self.stream()]
        for stream in running:
            next(stream)
        queued = self.stream()
        self.wait_until("one waits", lambda info: info.num_waiting == 1)
        queued.cancel()
        self.expect_end(queued, grpc.StatusCode.CANCELLED)
        self.wait_until("none waits", lambda info: info.num_waiting == 0 and info.num_running == 2)
        for stream in running:
            self.expect_going_on(stream)
            stream.cancel()
        self.expect_all_free(3)

    def test_while_its_prompt_is_being_run(self):
        beside = self.stream()
        next(beside)
        prefilling = self.stream(LONG_PROMPT)
        self.assertTrue(next(prefilling).HasField("started"))
        prefilling.cancel()
        self.expect_end(prefilling, grpc.StatusCode.CANCELLED)
        self.wait_until("it is gone", lambda info: info.num_running == 1)
        self.expect_going_on(beside)
        beside.cancel()
        self.expect_all_free(2)

    def test_while_it_is_answered(self):
        stream = self.stream()
        self.assertTrue(next(stream).HasField("started"))
        self.assertTrue(next(stream).HasField("delta"))
        stream.cancel()
        self.expect_end(stream, grpc.StatusCode.CANCELLED)
        self.expect_all_free(1)

    def test_while_it_follows_a_guide(self):
        stream = self.stream(guide={"regex": ENDLESS_REGEX})
        self.assertTrue(next(stream).HasField("started"))
        self.assertTrue(next(stream).HasField("delta"))
        stream.cancel()
        self.expect_end(stream, grpc.StatusCode.CANCELLED)
        self.expect_all_free(1)

    def test_one_call_of_several_answers(self):
        stream = self.stream(num_sequences=4)
        for _ in range(3):
            next(stream)
        stream.cancel()
        self.expect_end(stream, grpc.StatusCode.CANCELLED)
        self.wait_until("everything is free", lambda info: info.num_running == info.num_waiting == info.kv_blocks_used == 0)

    def test_a_deadline_that_passes_in_each_phase(self):
        running = [self.stream(timeout=2), self.stream(LONG_PROMPT, timeout=2)]
        queued = self.stream(timeout=2)
        for stream in [*running, queued]:
            self.expect_end(stream, grpc.StatusCode.DEADLINE_EXCEEDED)
        self.wait_until("everything is free", lambda info: info.num_running == info.num_waiting == info.kv_blocks_used == 0)

    def test_before_anything_was_read(self):
        for _ in range(50):
            self.stream().cancel()
        self.wait_until("everything is free", lambda info: info.num_running == info.num_waiting == info.kv_blocks_used == 0)


if __name__ == "__main__":
    ARGUMENTS.update(zip(["server", "model", "proto", "google"], sys.argv[1:5]))
    del sys.argv[1:5]
    unittest.main(verbosity=2)
