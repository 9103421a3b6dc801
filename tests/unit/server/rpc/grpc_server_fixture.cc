#include "tests/unit/server/rpc/grpc_server_fixture.h"

#include <google/protobuf/text_format.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>

#include <thread>
#include <utility>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tests/testing/fake_model.h"

namespace lockstep::server {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(60);

worker::LlamaConfig SmallConfig(int max_model_len) {
  worker::LlamaConfig config;
  config.vocab_size = kByteVocabSize;
  config.hidden_size = 64;
  config.intermediate_size = 128;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 16;
  config.max_position_embeddings = max_model_len;
  return config;
}

// By polling the snapshot: the engine publishes it after every change, and has no call to wait for
// one.
template <typename Condition>
bool WaitFor(Condition condition) {
  const absl::Time give_up = absl::Now() + kPatience;
  while (!condition()) {
    if (absl::Now() > give_up) return false;
    std::this_thread::yield();
  }
  return true;
}

}  // namespace

Frontend::Frontend(const FrontendOptions& options)
    : text_(MakeByteTextModel()),
      model_{"bytes", kByteVocabSize, options.max_model_len, {0, 0, 1, 0, 1, 1, {kByteEos}, {}}},
      config_(SmallConfig(options.max_model_len)) {
  EngineOptions engine_options;
  engine_options.scheduler.max_model_len = options.max_model_len;
  engine_options.scheduler.max_num_seqs = options.max_num_seqs;
  engine_options.scheduler.vocab_size = kByteVocabSize;
  engine_options.scheduler.max_num_batched_tokens = options.max_num_batched_tokens;
  engine_options.scheduler.max_queued_requests = options.max_queued_requests;
  engine_options.guides.vocab_size = kByteVocabSize;
  engine_options.guides.patience = options.mask_patience;
  engine_ = std::make_unique<EngineLoop>(engine_options);

  testing::FakeWorkerOptions worker;
  worker.num_kv_blocks = options.num_kv_blocks;
  worker.max_num_seqs = static_cast<uint32_t>(options.max_num_seqs);
  worker.max_num_batched_tokens = static_cast<uint32_t>(options.max_num_batched_tokens);
  worker.max_model_len = static_cast<uint32_t>(options.max_model_len);
  worker.vocab_size = kByteVocabSize;
  worker.next_token = [answer = Tokens(options.answer), a = Tokens("a")[0],
                       is_random = options.is_random](absl::Span<const int32_t> tokens,
                                                      const worker::v1::Sampling& sampling) {
    if (is_random) return testing::FakeNextToken(tokens, sampling, kByteVocabSize);
    if (answer.empty()) return a;
    const std::size_t index = tokens.size() - sampling.num_prompt_tokens();
    return index < answer.size() ? answer[index] : kByteEos;
  };
  pool_ = std::make_unique<testing::FakeWorkerPool>(*engine_, worker, options.mode);
  engine_->Start(*pool_);
  pool_->Ready();

  ServerOptions server_options;
  server_options.listen = "127.0.0.1:0";
  server_options.max_num_seqs = options.max_num_seqs;
  server_options.max_queued_requests = options.max_queued_requests;
  auto server = GrpcServer::Start(
      server_options,
      {*engine_, *pool_, *text_, model_, config_, counter_, options.max_request_bytes}, "float32");
  EXPECT_TRUE(server.ok()) << server.status();
  server_ = *std::move(server);
  channel_ = grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials());
  inference_ = v1::Inference::NewStub(channel_);
  admin_ = v1::Admin::NewStub(channel_);
}

Frontend::~Frontend() {
  // Calls end while the engine can still tell them so.
  server_.reset();
  engine_->Stop();
}

bool Frontend::WaitUntilIdle() { return WaitForRequests(0); }

bool Frontend::WaitUntilBlocksAreFree() {
  return WaitFor([&] { return engine_->Snapshot().kv_blocks_used == 0; });
}

bool Frontend::WaitForRequests(uint64_t count) {
  return WaitFor([&] {
    const EngineSnapshot now = engine_->Snapshot();
    return now.num_running + now.num_waiting == count;
  });
}

StreamedAnswer ReadStream(grpc::ClientReader<v1::GenerateStreamResponse>& reader) {
  StreamedAnswer answer;
  v1::GenerateStreamResponse response;
  while (reader.Read(&response)) {
    if (answer.num_finished > 0 || (!response.has_started() && answer.num_started == 0))
      answer.in_order = false;
    if (response.has_started()) {
      ++answer.num_started;
      answer.started = response.started();
    } else if (response.has_delta()) {
      answer.text += response.delta().text();
      for (uint32_t id : response.delta().token_ids())
        answer.token_ids.push_back(static_cast<int32_t>(id));
      answer.deltas.push_back(response.delta());
    } else if (response.has_finished()) {
      ++answer.num_finished;
      answer.finished = response.finished();
    }
  }
  answer.status = reader.Finish();
  return answer;
}

StreamedAnswer Stream(Frontend& frontend, const v1::GenerateRequest& request) {
  grpc::ClientContext context;
  return ReadStream(*frontend.inference().GenerateStream(&context, request));
}

v1::GenerateRequest ParseRequest(const std::string& text_format) {
  v1::GenerateRequest request;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text_format, &request)) << text_format;
  return request;
}

std::string FieldOf(const grpc::Status& status) {
  google::rpc::Status details;
  google::rpc::BadRequest bad_request;
  if (!details.ParseFromString(status.error_details()) || details.details_size() != 1) return "";
  if (!details.details(0).UnpackTo(&bad_request) || bad_request.field_violations_size() != 1)
    return "";
  return bad_request.field_violations(0).field();
}

bool HasRetryInfo(const grpc::Status& status) {
  google::rpc::Status details;
  google::rpc::RetryInfo retry;
  return details.ParseFromString(status.error_details()) && details.details_size() == 1 &&
         details.details(0).UnpackTo(&retry) &&
         retry.retry_delay().seconds() + retry.retry_delay().nanos() > 0;
}

grpc::Status CallRaw(Frontend& frontend, const std::string& method, const std::string& request,
                     std::string* response) {
  grpc::GenericStub stub(frontend.channel());
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  grpc::Slice slice(request);
  grpc::ByteBuffer request_bytes(&slice, 1), response_bytes;
  grpc::Status status;
  auto call = stub.PrepareUnaryCall(&context, method, request_bytes, &queue);
  call->StartCall();
  call->Finish(&response_bytes, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  std::vector<grpc::Slice> slices;
  if (response != nullptr && status.ok() && response_bytes.Dump(&slices).ok()) {
    response->clear();
    for (const auto& s : slices)
      response->append(reinterpret_cast<const char*>(s.begin()), s.size());
  }
  return status;
}

int Health(Frontend& frontend, const std::string& service) {
  // HealthCheckRequest {string service = 1}; HealthCheckResponse {ServingStatus status = 1}.
  const std::string request =
      service.empty() ? "" : std::string("\x0a") + static_cast<char>(service.size()) + service;
  std::string response;
  const grpc::Status status = CallRaw(frontend, "/grpc.health.v1.Health/Check", request, &response);
  return status.ok() && response.size() == 2 && response[0] == '\x08' ? response[1] : 0;
}

}  // namespace lockstep::server
