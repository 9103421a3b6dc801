"""What a client in another language sees of a running server.

    python_client_test.py SERVER_BINARY MODEL_DIR PROTO_DIR GOOGLE_PROTO_DIR
"""

import json
import shutil
import sys
import tempfile
import time
import unittest
import urllib.request

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

import running_server

TIMEOUT = 60
ARGUMENTS = {}


def setUpModule():
    ARGUMENTS["dir"] = tempfile.mkdtemp()
    ARGUMENTS.update(running_server.generated_modules(ARGUMENTS["protos"], ARGUMENTS["google_protos"],
                                                      ARGUMENTS["dir"]))
    model = running_server.with_long_context(ARGUMENTS["model"], ARGUMENTS["dir"])
    ARGUMENTS["started"] = time.monotonic()
    ARGUMENTS["server"] = running_server.RunningServer(ARGUMENTS["binary"], model, "--kv-cache-memory", "512MiB")


def tearDownModule():
    server = ARGUMENTS["server"]
    status = server.stop()
    shutil.rmtree(ARGUMENTS["dir"])
    assert status == 0, f"exit status {status} after SIGTERM:\n{server.log()}"


def details_of(error):
    """The messages in grpc-status-details-bin."""
    for key, value in error.trailing_metadata():
        if key == "grpc-status-details-bin":
            return ARGUMENTS["status_pb2"].Status.FromString(value).details
    return []


class PythonClientTest(unittest.TestCase):
    def setUp(self):
        self.server = ARGUMENTS["server"]
        self.generate = ARGUMENTS["generate_pb2"]
        self.inference_messages = ARGUMENTS["inference_pb2"]
        self.prompt = ARGUMENTS["prompt_pb2"]
        self.inference = ARGUMENTS["inference_pb2_grpc"].InferenceStub(self.server.channel)
        self.admin = ARGUMENTS["admin_pb2_grpc"].AdminStub(self.server.channel)

    def request(self, **fields):
        chat = {"messages": [{"role": "user", "content": "What is 12 + 34?"}]}
        fields.setdefault("sampling", {"temperature": 0})
        if not {"text", "token_ids", "chat"} & set(fields):
            fields["chat"] = chat
        return self.generate.GenerateRequest(**fields)

    def idle(self):
        admin = ARGUMENTS["admin_pb2"]
        for _ in range(20000):
            info = self.admin.GetServerInfo(admin.GetServerInfoRequest(), timeout=TIMEOUT)
            if info.num_running + info.num_waiting == 0:
                return True
        return False

    def get(self, path):
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        return direct.open(f"http://{self.server.metrics_address}{path}", timeout=TIMEOUT)

    def expect_violation(self, request, field):
        with self.assertRaises(grpc.RpcError) as raised:
            self.inference.Generate(request, timeout=TIMEOUT)
        self.assertEqual(raised.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
        bad_request = ARGUMENTS["error_details_pb2"].BadRequest()
        (detail,) = details_of(raised.exception)
        self.assertTrue(detail.Unpack(bad_request))
        self.assertEqual(bad_request.field_violations[0].field, field)

    def test_stream_and_unary_give_the_same_answer(self):
        events = list(self.inference.GenerateStream(self.request(), timeout=TIMEOUT))
        self.assertEqual(events[0].WhichOneof("event"), "started")
        self.assertEqual(events[-1].WhichOneof("event"), "finished")
        deltas = [event.delta for event in events[1:-1]]
        text = "".join(delta.text for delta in deltas)
        ids = [token for delta in deltas for token in delta.token_ids]
        self.assertGreater(len(text), 0)
        self.assertEqual(events[-1].finished.reason, self.generate.EOS)
        self.assertEqual(events[-1].finished.usage.completion_tokens, len(ids))
        whole = self.inference.Generate(self.request(), timeout=TIMEOUT)
        self.assertEqual(whole.sequences[0].text, text)
        self.assertEqual(list(whole.sequences[0].token_ids), ids)

    def test_detokenizing_an_answer_gives_its_text(self):
        sequence = self.inference.Generate(self.request(), timeout=TIMEOUT).sequences[0]
        response = self.inference.Detokenize(self.inference_messages.DetokenizeRequest(
            token_ids={"ids": sequence.token_ids}, skip_special_tokens=True), timeout=TIMEOUT)
        self.assertEqual(response.text, sequence.text)

    def test_a_stop_string_is_not_in_the_text(self):
        text = self.inference.Generate(self.request(), timeout=TIMEOUT).sequences[0].text
        stop = text[len(text) // 2:len(text) // 2 + 2]
        sequence = self.inference.Generate(self.request(stopping={"stop_strings": [stop]}), timeout=TIMEOUT).sequences[0]
        self.assertEqual(sequence.text, text[:text.index(stop)])
        self.assertEqual(sequence.finished.stop_string, stop)

    def test_a_seed_repeats_its_answer(self):
        request = self.request(sampling={"temperature": 1.5}, stopping={"max_new_tokens": 20, "ignore_eos": True})
        first = self.inference.Generate(request, timeout=TIMEOUT).sequences[0]
        request.sampling.seed = first.finished.seed
        again = self.inference.Generate(request, timeout=TIMEOUT).sequences[0]
        self.assertEqual(list(again.token_ids), list(first.token_ids))

    def test_greedy_tokens_are_those_with_the_largest_logits(self):
        import array
        response = self.inference.Generate(self.request(stopping={"max_new_tokens": 4}), timeout=TIMEOUT)
        prompt = self.inference.Tokenize(self.inference_messages.TokenizeRequest(chat=self.request().chat),
                                         timeout=TIMEOUT).token_ids
        ids = list(prompt) + list(response.sequences[0].token_ids)
        forward = self.inference.Forward(self.inference_messages.ForwardRequest(
            prompts=[{"ids": ids}], all_positions=True), timeout=TIMEOUT)
        rows, vocabulary = forward.outputs[0].shape
        self.assertEqual(rows, len(ids))
        logits = array.array("f", forward.outputs[0].logits)
        for position in range(len(prompt) - 1, len(ids) - 1):
            row = logits[position * vocabulary:(position + 1) * vocabulary]
            self.assertEqual(max(range(vocabulary), key=row.__getitem__), ids[position + 1])
        self.assertGreater(forward.duration.ToNanoseconds(), 0)

    def test_logprobs_come_with_as_many_alternatives_as_asked_for(self):
        sequence = self.inference.Generate(
            self.request(output={"logprobs": 3}, stopping={"max_new_tokens": 2}), timeout=TIMEOUT).sequences[0]
        for token in sequence.tokens:
            self.assertEqual(token.rank, 1)
            self.assertEqual(len(token.top), 3)
            self.assertEqual(token.top[0].id, token.id)
            self.assertAlmostEqual(token.top[0].logprob, token.logprob, places=5)
            self.assertLessEqual(token.logprob, 0)

    def test_cancelling_frees_the_slot(self):
        stream = self.inference.GenerateStream(
            self.request(stopping={"ignore_eos": True}), timeout=TIMEOUT)
        next(stream)
        stream.cancel()
        with self.assertRaises(grpc.RpcError) as raised:
            list(stream)
        self.assertEqual(raised.exception.code(), grpc.StatusCode.CANCELLED)
        self.assertTrue(self.idle())

    def test_errors_name_the_field(self):
        self.expect_violation(self.request(sampling={"top_p": 1.5}), "sampling.top_p")
        self.expect_violation(self.request(text=""), "text")
        self.expect_violation(self.request(token_ids={"ids": [1, 1 << 31]}), "token_ids.ids[1]")
        self.expect_violation(self.request(stopping={"max_new_tokens": 0}), "stopping.max_new_tokens")
        self.expect_violation(self.request(text="word " * 100000), "text")
        self.expect_violation(self.generate.GenerateRequest(), "prompt")

    def test_a_guide_that_cannot_be_carried_out_is_refused_by_name(self):
        self.expect_violation(self.request(guide={"regex": "[0-9"}), "guide.regex")
        self.expect_violation(self.request(guide={"json_schema": '{"type": "object", "not": {}}'}), "guide.json_schema")
        self.expect_violation(self.request(guide={"choice": {}}), "guide.choice.choices")

    def test_text_that_is_not_utf8_is_an_invalid_argument(self):
        call = self.server.channel.unary_unary("/lockstep.v1.Inference/Generate")  # bytes in, bytes out
        with self.assertRaises(grpc.RpcError) as raised:
            call(b"\x1a\x03ab\xff", timeout=TIMEOUT)
        self.assertEqual(raised.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
        self.assertIn("text: is not valid UTF-8 at byte 2", raised.exception.details())

    def test_another_model_is_not_found(self):
        with self.assertRaises(grpc.RpcError) as raised:
            self.inference.Generate(self.request(model="another"), timeout=TIMEOUT)
        self.assertEqual(raised.exception.code(), grpc.StatusCode.NOT_FOUND)

    def test_reflection_is_enough_to_call_it(self):
        services = ProtoReflectionDescriptorDatabase(self.server.channel).get_services()
        self.assertLessEqual({"lockstep.v1.Inference", "lockstep.v1.Admin", "grpc.health.v1.Health"}, set(services))
        request_class = running_server.message_class_by_reflection(self.server.channel, "lockstep.v1.TokenizeRequest")
        response_class = running_server.message_class_by_reflection(self.server.channel, "lockstep.v1.TokenizeResponse")
        call = self.server.channel.unary_unary("/lockstep.v1.Inference/Tokenize",
                                               request_serializer=request_class.SerializeToString,
                                               response_deserializer=response_class.FromString)
        response = call(request_class(text="grüße"), timeout=TIMEOUT)
        self.assertEqual(b"".join(t.bytes for t in response.tokens).decode()[-5:], "grüße")

    def test_health_is_serving_by_check_and_watch(self):
        health = health_pb2_grpc.HealthStub(self.server.channel)
        for service in ["", "lockstep.v1.Inference"]:
            request = health_pb2.HealthCheckRequest(service=service)
            self.assertEqual(health.Check(request, timeout=TIMEOUT).status, health_pb2.HealthCheckResponse.SERVING)
            watch = health.Watch(request, timeout=TIMEOUT)
            self.assertEqual(next(watch).status, health_pb2.HealthCheckResponse.SERVING)
            watch.cancel()

    def test_reflection_describes_health_too(self):
        request_class = running_server.message_class_by_reflection(self.server.channel, "grpc.health.v1.HealthCheckRequest")
        response_class = running_server.message_class_by_reflection(self.server.channel, "grpc.health.v1.HealthCheckResponse")
        check = self.server.channel.unary_unary("/grpc.health.v1.Health/Check", request_serializer=request_class.SerializeToString,
                                                response_deserializer=response_class.FromString)
        response = check(request_class(service="lockstep.v1.Inference"), timeout=TIMEOUT)
        self.assertEqual(response_class.ServingStatus.Name(response.status), "SERVING")

    def test_model_and_server_describe_themselves(self):
        model = self.inference.GetModelInfo(self.inference_messages.GetModelInfoRequest(), timeout=TIMEOUT)
        self.assertEqual(model.architecture, "LlamaForCausalLM")
        self.assertGreater(model.num_kv_blocks, 0)
        info = self.admin.GetServerInfo(ARGUMENTS["admin_pb2"].GetServerInfoRequest(), timeout=TIMEOUT)
        self.assertEqual(info.state, ARGUMENTS["admin_pb2"].POOL_STATE_READY)
        self.assertEqual([rank.rank for rank in info.ranks], [0, 1])
        self.assertEqual(info.num_waiting_tokens, 0)

    def test_the_model_says_what_its_files_say(self):
        model = self.inference.GetModelInfo(self.inference_messages.GetModelInfoRequest(), timeout=TIMEOUT)
        with open(f"{ARGUMENTS['model']}/generation_config.json", encoding="utf-8") as file:
            generation = json.load(file)
        with open(f"{ARGUMENTS['model']}/tokenizer_config.json", encoding="utf-8") as file:
            tokenizer = json.load(file)
        self.assertTrue(model.tie_word_embeddings)
        self.assertEqual((model.default_sampling.temperature, model.default_sampling.top_p), (0, 1))
        self.assertEqual(list(model.eos_token_ids), generation["eos_token_id"])
        tokens = {token.role: (token.id, token.text) for token in model.special_tokens}
        self.assertEqual({role: text for role, (_, text) in tokens.items()}, {role: tokenizer[f"{role}_token"] for role in ["bos", "eos", "pad"]})
        self.assertEqual(tokens["bos"][0], generation["bos_token_id"])
        self.assertEqual(tokens["pad"][0], generation["pad_token_id"])

    def test_the_server_says_how_long_it_has_been_up_and_how_it_started(self):
        self.inference.Generate(self.request(), timeout=TIMEOUT)
        deadline = time.monotonic() + TIMEOUT
        while True:
            info = self.admin.GetServerInfo(ARGUMENTS["admin_pb2"].GetServerInfoRequest(), timeout=TIMEOUT)
            if info.uptime.seconds > 0 or time.monotonic() > deadline:
                break
        age = time.monotonic() - ARGUMENTS["started"]
        self.assertGreater(info.uptime.seconds, 0)
        self.assertLessEqual(info.uptime.seconds, age)
        for rank in info.ranks:
            self.assertTrue(rank.HasField("step_age"))
            self.assertLess(rank.step_age.ToNanoseconds(), age * 1e9)
            phases = {phase.name: phase.duration.ToNanoseconds() for phase in rank.start_phases}
            self.assertLessEqual({"configuration", "weights", "kv_cache", "communicator", "self_test"}, set(phases))
            self.assertGreater(phases["weights"], 0)
            self.assertLess(sum(phases.values()), age * 1e9)

    def metrics(self):
        with self.get("/metrics") as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}

    def test_metrics_count_the_answers(self):
        self.inference.Generate(self.request(), timeout=TIMEOUT)
        values = self.metrics()
        self.assertGreater(values["lockstep_generation_tokens_total"], 0)
        self.assertGreater(values['lockstep_request_success_total{reason="eos"}'], 0)
        with self.get("/healthz") as answer:
            self.assertEqual(answer.status, 200)

    def test_what_the_cache_had_is_in_the_answer_and_in_the_metrics(self):
        request = self.request(token_ids={"ids": range(100, 170)}, stopping={"max_new_tokens": 2}, cache={"salt": "of its own"})
        before = self.metrics()
        cached = []
        for _ in range(2):
            events = list(self.inference.GenerateStream(request, timeout=TIMEOUT))
            cached.append((events[0].started.num_cached_tokens, events[-1].finished.usage.cached_tokens))
        after = self.metrics()
        self.assertEqual(cached, [(0, 0), (64, 64)])
        gained = {name: after[f"lockstep_prefix_cache_{name}_total"] - before[f"lockstep_prefix_cache_{name}_total"] for name in ["queries", "hits"]}
        self.assertEqual(gained, {"queries": 140, "hits": 64})

    def test_the_log_has_one_json_line_per_request_and_no_prompt(self):
        for request_id in ["logged-once", "logged-after"]:
            self.inference.Generate(self.request(request_id=request_id, text="a secret prompt"), timeout=TIMEOUT)
        self.server.wait_for_log("logged-after")
        (line,) = self.server.wait_for_log("logged-once")
        self.assertEqual(self.server.log().count("logged-once"), 1)
        record = json.loads(line[line.index("{"):])
        self.assertEqual(record["status"], "OK")
        self.assertGreater(record["prompt_tokens"], 0)
        self.assertNotIn("secret", self.server.log())

    def test_the_log_names_a_request_that_is_refused(self):
        refused = {"by-a-field": {"sampling": {"top_p": 1.5}}, "by-its-guide": {"guide": {"regex": "[0-9"}}, "by-its-model": {"model": "x"}}
        for request_id, fields in refused.items():
            with self.assertRaises(grpc.RpcError):
                self.inference.Generate(self.request(request_id=request_id, **fields), timeout=TIMEOUT)
            (line,) = self.server.wait_for_log(f'"request_id":"{request_id}"')
            self.assertNotEqual(json.loads(line[line.index("{"):])["status"], "OK")


if __name__ == "__main__":
    ARGUMENTS["binary"], ARGUMENTS["model"], ARGUMENTS["protos"], ARGUMENTS["google_protos"] = sys.argv[1:5]
    unittest.main(argv=sys.argv[:1] + sys.argv[5:], verbosity=2)
