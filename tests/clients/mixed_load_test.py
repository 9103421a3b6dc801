"""Many requests with options of all kinds at once, some of which go away: every other one gets the answer that it gets alone.

    mixed_load_test.py SERVER_BINARY MODEL_DIR PROTO_DIR GOOGLE_PROTO_DIR

On the left a server that has one request at a time; on the right one with so few KV blocks and tokens per step that prompts
go in chunks, blocks are cached, evicted and taken away, and sequences preempted. Answers are compared to the last bit of
their log probabilities.
"""

import random
import sys
import tempfile
import threading
import time
import unittest

import grpc

from running_server import RunningServer, generated_modules

TIMEOUT = 120
SEED = 7
NUM_REQUESTS = 120
NUM_THREADS = 24
NUM_CALLS = 40  # of each thread
ARGUMENTS = {}

CROWDED = ["--max-num-seqs", "16", "--max-num-batched-tokens", "48", "--kv-cache-memory", "1MiB"]
TEXTS = ["What is 27 + 48?", "Tell me a story about a cat.", "What is the opposite of hot?", "Count from 3 to 9.", "Once upon a time",
         "Hello"]
GUIDES = [
    {"regex": r"[a-z]{1,20}( [a-z]{1,8}){0,6}\."},
    {"json_schema": '{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string","maxLength":20}},"required":["a","b"]}'},
    {"choice": {"choices": ["yes", "no", "perhaps"]}},
    {"json_object": True},
]


class RandomRequests:
    """Requests whose options are there or not, each by itself."""

    def __init__(self, request_class, seed):
        self._class = request_class
        self._random = random.Random(seed)

    def _maybe(self, probability, **fields):
        return fields if self._random.random() < probability else {}

    def _prompt(self):
        draw = self._random
        kind = draw.randrange(3)
        if kind == 0:
            return {"chat": {"messages": [{"role": "user", "content": draw.choice(TEXTS)}]}}
        if kind == 1:
            return {"text": " ".join(draw.choices(TEXTS, k=draw.randint(1, 8)))}
        return {"token_ids": {"ids": [draw.randrange(5, 700) for _ in range(draw.randint(1, 300))]}}

    def _sampling(self):
        draw = self._random
        return {"temperature": draw.choice([0.0, 0.0, 0.3, 1.0, 1.7]), "seed": draw.randrange(2**63),
                **self._maybe(0.3, top_k=draw.randint(1, 50)), **self._maybe(0.3, top_p=draw.uniform(0.3, 1)),
                **self._maybe(0.2, min_p=draw.uniform(0, 0.3)), **self._maybe(0.2, typical_p=draw.uniform(0.3, 1)),
                **self._maybe(0.2, repetition_penalty=draw.uniform(0.8, 1.5)),
                **self._maybe(0.2, presence_penalty=draw.uniform(-1, 2), frequency_penalty=draw.uniform(-1, 2)),
                **self._maybe(0.1, logit_bias={draw.randrange(700): draw.uniform(-5, 5)})}

    def make(self):
        draw = self._random
        stopping = {"max_new_tokens": draw.randint(10, 120), **self._maybe(0.2, min_new_tokens=draw.randint(0, 10)),
                    **self._maybe(0.3, stop_strings=draw.sample([".", " the", "a", "7", "once"], 2)),
                    **self._maybe(0.2, ignore_eos=True), **self._maybe(0.2, include_stop_string=True)}
        output = {**self._maybe(0.3, logprobs=draw.randint(0, 5)), **self._maybe(0.1, prompt_logprobs=draw.randint(0, 3)),
                  **self._maybe(0.1, token_details=True)}
        return self._class(**self._prompt(), sampling=self._sampling(), stopping=stopping, output=output,
                           **self._maybe(0.15, guide=draw.choice(GUIDES)), **self._maybe(0.1, num_sequences=draw.randint(2, 4)),
                           cache={**self._maybe(0.1, bypass=True), **self._maybe(0.1, salt=draw.choice(["x", "y"]))})


def comparable(sequences, prompt_tokens):
    """What must not depend on other requests: all but times and what the cache had."""
    for sequence in sequences:
        sequence.finished.ClearField("timing")
        sequence.finished.usage.ClearField("cached_tokens")
    return [message.SerializeToString(deterministic=True) for message in [*sequences, *prompt_tokens]]


class MixedLoadTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory()
        cls.modules = generated_modules(ARGUMENTS["proto"], ARGUMENTS["google"], cls.scratch.name)

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()

    def inference(self, channel):
        return self.modules["inference_pb2_grpc"].InferenceStub(channel)

    def whole(self, inference, request):
        answer = inference.Generate(request, timeout=TIMEOUT)
        return comparable(answer.sequences, answer.prompt_tokens)

    def streamed(self, inference, request):
        prompt_tokens, sequences = [], {}
        for event in inference.GenerateStream(request, timeout=TIMEOUT):
            kind = event.WhichOneof("event")
            part = getattr(event, kind)
            if kind == "started":
                prompt_tokens = part.prompt_tokens
                continue
            sequence = sequences.setdefault(part.index, self.modules["generate_pb2"].GeneratedSequence(index=part.index, text=""))
            if kind == "delta":
                sequence.text += part.text
                sequence.token_ids.extend(part.token_ids)
                sequence.tokens.extend(part.tokens)
            else:
                sequence.finished.CopyFrom(part)
        return comparable([sequences[index] for index in sorted(sequences)], prompt_tokens)

    def leave(self, draw, channel, request):
        """Begins the request and goes away: by cancelling, by a deadline, or by Abort."""
        inference = self.inference(channel)
        way = draw.randrange(3)
        if way == 0:
            stream = inference.GenerateStream(request, timeout=TIMEOUT)
            for _ in range(draw.randint(0, 10)):
                next(stream, None)
            stream.cancel()
        elif way == 1:
            inference.GenerateStream(request, timeout=draw.uniform(0.001, 0.3))  # ends with its deadline, unread
        else:
            request.request_id = f"aborted-{draw.randrange(2**60)}"
            stream = inference.GenerateStream(request, timeout=TIMEOUT)
            next(stream, None)
            admin = self.modules["admin_pb2_grpc"].AdminStub(channel)
            try:
                admin.Abort(self.modules["admin_pb2"].AbortRequest(request_id=request.request_id), timeout=TIMEOUT)
            except grpc.RpcError as error:
                self.assertEqual(error.code(), grpc.StatusCode.NOT_FOUND)  # it has ended
            list(stream)

    def crowd(self, number, address, requests, expected, failures):
        draw = random.Random(SEED + number)
        try:
            # A connection of its own: equal arguments would share one.
            with grpc.insecure_channel(address, options=[("lockstep.test.client", number)]) as channel:
                for _ in range(NUM_CALLS):
                    index = draw.randrange(len(requests))
                    request = type(requests[index]).FromString(requests[index].SerializeToString())
                    request.priority = draw.choice([0, 0, 0, -3, 5])
                    if draw.random() < 0.25:
                        self.leave(draw, channel, request)
                        continue
                    answer = draw.choice([self.whole, self.streamed])(self.inference(channel), request)
                    if answer != expected[index]:
                        failures.append(f"another answer than alone to:\n{requests[index]}")
        except Exception as error:  # noqa: BLE001: a thread's errors fail the test
            failures.append(repr(error))

    def test_everybody_gets_the_answer_that_they_get_alone(self):
        random_requests = RandomRequests(self.modules["generate_pb2"].GenerateRequest, SEED)
        requests = [random_requests.make() for _ in range(NUM_REQUESTS)]
        with RunningServer(ARGUMENTS["server"], ARGUMENTS["model"]) as server:
            expected = [self.whole(self.inference(server.channel), request) for request in requests]
        failures = []
        with RunningServer(ARGUMENTS["server"], ARGUMENTS["model"], *CROWDED) as server:
            threads = [threading.Thread(target=self.crowd, args=(number, server.address, requests, expected, failures))
                       for number in range(NUM_THREADS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(failures[:3], [], f"{len(failures)} failures")
            info = self.until_idle(server.channel)
            self.assertGreater(info.preemptions, 0)
            self.assertGreater(info.prefix_cache_hits, 0)
            self.assertEqual(server.stop(), 0)

    def until_idle(self, channel):
        admin = self.modules["admin_pb2_grpc"].AdminStub(channel)
        deadline = time.monotonic() + TIMEOUT
        while True:
            info = admin.GetServerInfo(self.modules["admin_pb2"].GetServerInfoRequest(), timeout=TIMEOUT)
            if info.num_running == info.num_waiting == info.kv_blocks_used == 0:
                return info
            self.assertLess(time.monotonic(), deadline, f"not idle: {info}")
            time.sleep(0.02)


if __name__ == "__main__":
    ARGUMENTS.update(zip(["server", "model", "proto", "google"], sys.argv[1:5]))
    del sys.argv[1:5]
    unittest.main(verbosity=2)
