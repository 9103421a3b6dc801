"""Every way to shape an answer, through the real server and its workers, in float32 on the demo model.

    generation_test.py SERVER_BINARY MODEL_DIR PROTO_DIR GOOGLE_PROTO_DIR
"""

import array
import json
import math
import os
import re
import shutil
import sys
import tempfile
import unittest
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import grpc
import running_server

TIMEOUT = 120
ARGUMENTS = {}
RANKS = [1, 2, 4]
# Everything that changes a draw.
LIVELY = {"temperature": 1.1, "top_k": 200, "top_p": 0.98, "min_p": 0.001, "typical_p": 0.97, "repetition_penalty": 1.15,
          "presence_penalty": 0.2, "frequency_penalty": 0.3, "logit_bias": {10: 1.5, 20: -2.0}}


def setUpModule():
    ARGUMENTS["dir"] = tempfile.mkdtemp()
    ARGUMENTS.update(running_server.generated_modules(ARGUMENTS["protos"], ARGUMENTS["google_protos"], ARGUMENTS["dir"]))
    ARGUMENTS["server"] = start()


def tearDownModule():
    server = ARGUMENTS["server"]
    status = server.stop()
    shutil.rmtree(ARGUMENTS["dir"])
    assert status == 0, f"exit status {status} after SIGTERM:\n{server.log()}"


def start(*arguments, **options):
    return running_server.RunningServer(ARGUMENTS["binary"], ARGUMENTS["model"], "--dtype", "float32", *arguments,
                                        **options)


def stub(server):
    return ARGUMENTS["inference_pb2_grpc"].InferenceStub(server.channel)


def request(**fields):
    fields.setdefault("stopping", {"max_new_tokens": 40, "ignore_eos": True})
    if not {"text", "token_ids"} & set(fields):
        fields["chat"] = {"messages": [{"role": "user", "content": "What is 12 + 34?"}]}
    return ARGUMENTS["generate_pb2"].GenerateRequest(**fields)


def alone(shared, seed):
    """The request for one of its answers."""
    single = ARGUMENTS["generate_pb2"].GenerateRequest()
    single.CopyFrom(shared)
    single.ClearField("num_sequences")
    single.sampling.seed = seed
    return single


def log_softmax(row):
    largest = max(row)
    return [x - largest - math.log(sum(math.exp(y - largest) for y in row)) for x in row]


class GenerationTest(unittest.TestCase):
    def setUp(self):
        self.inference = stub(ARGUMENTS["server"])

    def generate(self, **fields):
        return self.inference.Generate(request(**fields), timeout=TIMEOUT)

    def first(self, **fields):
        return self.generate(**fields).sequences[0]

    def forward(self, ids):
        """The logits after each of the tokens."""
        message = ARGUMENTS["inference_pb2"].ForwardRequest(prompts=[{"ids": ids}], all_positions=True)
        output = self.inference.Forward(message, timeout=TIMEOUT).outputs[0]
        rows, vocabulary = output.shape
        logits = array.array("f", output.logits)
        return [logits[i * vocabulary:(i + 1) * vocabulary] for i in range(rows)]

    def test_each_sequence_is_the_answer_of_its_seed(self):
        shared = request(num_sequences=3, sampling={**LIVELY, "seed": 5}, stopping={"max_new_tokens": 60})
        sequences = self.inference.Generate(shared, timeout=TIMEOUT).sequences
        self.assertEqual([s.index for s in sequences], [0, 1, 2])
        self.assertEqual(sequences[0].finished.seed, 5)
        self.assertEqual(len({s.finished.seed for s in sequences}), 3)
        for sequence in sequences:
            again = self.inference.Generate(alone(shared, sequence.finished.seed), timeout=TIMEOUT).sequences[0]
            self.assertEqual(list(again.token_ids), list(sequence.token_ids))
            self.assertEqual(again.text, sequence.text)

    def test_sequences_end_at_their_own_stop_strings_and_the_stream_after_the_last(self):
        shared = request(num_sequences=4, sampling={"temperature": 1.5, "seed": 11})
        texts = [s.text for s in self.inference.Generate(shared, timeout=TIMEOUT).sequences]
        stop = next(texts[1][i:i + 2] for i in range(5, len(texts[1])) if texts[1][i:i + 2].isascii())
        shared.stopping.stop_strings.append(stop)
        got, ended = {}, {}
        for number, event in enumerate(self.inference.GenerateStream(shared, timeout=TIMEOUT)):
            kind = event.WhichOneof("event")
            self.assertEqual(kind == "started", number == 0)
            if kind == "delta":
                self.assertNotIn(event.delta.index, ended)
                got[event.delta.index] = got.get(event.delta.index, "") + event.delta.text
            elif kind == "finished":
                ended[event.finished.index] = event.finished
        self.assertEqual(sorted(ended), [0, 1, 2, 3])
        for index, text in enumerate(texts):
            self.assertEqual(got[index], text.split(stop)[0])
            reason = "STOP_STRING" if stop in text else "LENGTH"
            self.assertEqual(ARGUMENTS["generate_pb2"].FinishReason.Name(ended[index].reason), reason)

    def test_seeds_give_the_same_answers_at_every_number_of_ranks(self):
        shared = request(num_sequences=3, sampling={**LIVELY, "seed": 77})
        answers = []
        for ranks in RANKS:
            with start(ranks=ranks) as server:
                sequences = stub(server).Generate(shared, timeout=TIMEOUT).sequences
                answers.append([list(sequence.token_ids) for sequence in sequences])
                self.assertEqual(server.stop(), 0)
        self.assertEqual(answers[1], answers[0])
        self.assertEqual(answers[2], answers[0])

    def test_answers_are_the_same_after_preemptions(self):
        # Blocks for one and a half contexts, of which the six answers need more than three: they are submitted together.
        cache = 2 * 4 * 2 * 32 * 4 * 512 * 3 // 2
        shared = request(num_sequences=6, sampling={**LIVELY, "seed": 123},
                         stopping={"max_new_tokens": 300, "ignore_eos": True})
        with start("--kv-cache-memory", str(cache), "--block-size", "16") as server:
            sequences = stub(server).Generate(shared, timeout=TIMEOUT).sequences
            direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with direct.open(f"http://{server.metrics_address}/metrics", timeout=TIMEOUT) as answer:
                preemptions = re.search(r"^lockstep_preemptions_total (\S+)$", answer.read().decode(), re.MULTILINE)
            self.assertEqual(server.stop(), 0)
        self.assertGreater(float(preemptions.group(1)), 0)
        for sequence in sequences:
            again = self.inference.Generate(alone(shared, sequence.finished.seed), timeout=TIMEOUT).sequences[0]
            self.assertEqual(list(again.token_ids), list(sequence.token_ids), f"sequence {sequence.index}")

    def test_answers_do_not_depend_on_what_runs_beside(self):
        prompts = ["Once upon a time", "What is 5 + 6?", "A", "List the days of the week. " * 8]
        requests = [request(text=text, sampling={**LIVELY, "seed": seed}) for seed, text in enumerate(prompts)]
        call = lambda r: list(self.inference.Generate(r, timeout=TIMEOUT).sequences[0].token_ids)
        one_by_one = [call(r) for r in requests]
        with ThreadPoolExecutor(len(requests)) as pool:
            self.assertEqual(list(pool.map(call, requests)), one_by_one)

    def test_prompt_logprobs_are_those_of_the_models_logits(self):
        text = "What is 12 + 34? It is forty-six, and " * 6
        for count in [1, 2]:
            response = self.generate(text=text, num_sequences=count, output={"prompt_logprobs": 3, "echo": True},
                                     stopping={"max_new_tokens": 3})
            tokens = response.prompt_tokens
            rows = self.forward([token.id for token in tokens])
            self.assertEqual(len(tokens), response.num_prompt_tokens)
            self.assertFalse(tokens[0].HasField("logprob"))
            for token, row in zip(tokens[1:], rows):
                expected = log_softmax(row)
                self.assertAlmostEqual(token.logprob, expected[token.id], delta=1e-4)
                self.assertEqual(token.rank, 1 + sum(x > row[token.id] for x in row))
                best = sorted(range(len(row)), key=lambda i: (-row[i], i))[:3]
                self.assertEqual([top.id for top in token.top], best)
            for sequence in response.sequences:
                self.assertEqual(sequence.text[:len(text)], text)

    def test_prompt_logprobs_are_complete_though_the_prompt_is_cached_and_shared(self):
        fields = {"text": "The same long prompt, told again and again. " * 12, "sampling": {"temperature": 0},
                  "stopping": {"max_new_tokens": 2}}
        self.generate(**fields)
        plain = self.generate(**fields, output={"prompt_logprobs": 0})
        salted = self.generate(**fields, output={"prompt_logprobs": 0}, cache={"salt": "other", "bypass": True})
        self.assertEqual([t.logprob for t in plain.prompt_tokens], [t.logprob for t in salted.prompt_tokens])
        self.assertTrue(all(t.HasField("logprob") for t in plain.prompt_tokens[1:]))

    def test_greedy_answers_heed_bias_allowed_tokens_and_penalties(self):
        greedy = {"temperature": 0}
        plain = list(self.first(sampling=greedy).token_ids)
        biased = self.first(sampling={**greedy, "logit_bias": {300: 100}})
        self.assertEqual(set(biased.token_ids), {300})
        allowed = self.first(sampling={**greedy, "allowed_token_ids": [5, 9, 300]})
        self.assertLessEqual(set(allowed.token_ids), {5, 9, 300})
        banned = self.first(sampling={**greedy, "logit_bias": {plain[0]: -100}})
        self.assertNotIn(plain[0], list(banned.token_ids))
        self.assertLess(self.repeats(frequency_penalty=2), len(plain) - len(set(plain)))
        self.assertLess(self.repeats(repetition_penalty=3), len(plain) - len(set(plain)))

    def repeats(self, **penalty):
        ids = list(self.first(sampling={"temperature": 0, **penalty}).token_ids)
        return len(ids) - len(set(ids))

    def test_logprobs_are_the_models_own_whatever_changes_the_choice(self):
        sequence = self.first(sampling={"temperature": 0, "allowed_token_ids": [300]}, output={"logprobs": 1},
                              stopping={"max_new_tokens": 1})
        plain = self.first(sampling={"temperature": 0}, output={"logprobs": 1}, stopping={"max_new_tokens": 1})
        (token,) = sequence.tokens
        self.assertEqual(token.id, 300)
        self.assertGreater(token.rank, 1)
        self.assertEqual(token.top[0], plain.tokens[0].top[0])
        self.assertLess(token.logprob, token.top[0].logprob)

    def test_text_and_bytes_are_those_of_the_tokens_special_ones_included(self):
        for skip in [True, False]:
            response = self.generate(num_sequences=4, sampling={"temperature": 20, "seed": 31}, text="Ünïcode",
                                     stopping={"max_new_tokens": 200, "ignore_eos": True},
                                     output={"token_details": True, "skip_special_tokens": skip})
            for sequence in response.sequences:
                message = ARGUMENTS["inference_pb2"].DetokenizeRequest(token_ids={"ids": sequence.token_ids},
                                                                       skip_special_tokens=skip)
                decoded = self.inference.Detokenize(message, timeout=TIMEOUT)
                self.assertEqual(sequence.text, decoded.text)
                self.assertEqual([token.id for token in sequence.tokens], list(sequence.token_ids))
                if not skip:
                    joined = b"".join(token.bytes for token in sequence.tokens)
                    self.assertEqual(joined.decode(errors="replace"), sequence.text)

    def test_an_answer_is_not_shorter_than_its_minimum(self):
        natural = self.first(sampling={"temperature": 0}, stopping={})
        self.assertEqual(natural.finished.reason, ARGUMENTS["generate_pb2"].EOS)
        minimum = len(natural.token_ids) + 20
        longer = self.first(sampling={"temperature": 0}, stopping={"min_new_tokens": minimum})
        self.assertGreater(len(longer.token_ids), minimum)
        self.assertNotIn(natural.finished.stop_token_id, longer.token_ids[:minimum])

    def test_the_time_limit_ends_every_sequence_with_what_it_has(self):
        response = self.generate(num_sequences=3, stopping={"ignore_eos": True, "time_limit_ms": 1})
        for sequence in response.sequences:
            self.assertEqual(sequence.finished.reason, ARGUMENTS["generate_pb2"].TIME_LIMIT)
            self.assertEqual(sequence.finished.usage.completion_tokens, len(sequence.token_ids))

    def test_a_token_whose_weights_are_not_finite_ends_its_own_request_alone(self):
        broken_token = 300
        directory = running_server.with_long_context(ARGUMENTS["model"], os.path.join(ARGUMENTS["dir"], "broken"))
        break_embedding(directory, broken_token)
        with running_server.RunningServer(ARGUMENTS["binary"], directory) as server:
            inference = stub(server)
            stream = inference.GenerateStream(request(stopping={"max_new_tokens": 2000, "ignore_eos": True}))
            next(stream)
            with self.assertRaises(grpc.RpcError) as raised:
                inference.Generate(request(token_ids={"ids": [5, broken_token, 5]}), timeout=TIMEOUT)
            self.assertEqual(raised.exception.code(), grpc.StatusCode.INTERNAL)
            self.assertIn("not finite", raised.exception.details())
            events = list(stream)
            self.assertEqual(events[-1].finished.reason, ARGUMENTS["generate_pb2"].LENGTH)
            self.assertEqual(server.stop(), 0)


def break_embedding(directory, token):
    """Makes one weight of the token a NaN where it is looked up, in a tied checkpoint of 16-bit types, and gives it a head of its own."""
    path = os.path.join(directory, "model.safetensors")
    with open(path, "rb") as file:
        tensors = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = bytearray(file.read())
    embedding = tensors["model.embed_tokens.weight"]
    begin, end = embedding["data_offsets"]
    tensors["lm_head.weight"] = {**embedding, "data_offsets": [len(data), len(data) + end - begin]}
    data += data[begin:end]
    first = begin + 2 * token * embedding["shape"][1]
    data[first:first + 2] = b"\xff\x7f"
    header = json.dumps(tensors).encode()
    with open(path, "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header + data)
    path = os.path.join(directory, "config.json")
    with open(path, encoding="utf-8") as file:
        config = json.load(file)
    with open(path, "w", encoding="utf-8") as file:
        json.dump({**config, "tie_word_embeddings": False}, file)


if __name__ == "__main__":
    ARGUMENTS["binary"], ARGUMENTS["model"], ARGUMENTS["protos"], ARGUMENTS["google_protos"] = sys.argv[1:5]
    unittest.main(argv=sys.argv[:1] + sys.argv[5:], verbosity=2)
