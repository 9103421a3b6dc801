// The whole frontend but for the workers, in one process: gRPC server, engine, and a pool without a
// model.
#ifndef LOCKSTEP_TESTS_UNIT_SERVER_RPC_GRPC_SERVER_FIXTURE_H_
#define LOCKSTEP_TESTS_UNIT_SERVER_RPC_GRPC_SERVER_FIXTURE_H_

#include <grpcpp/channel.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "lockstep/v1/admin.grpc.pb.h"
#include "lockstep/v1/inference.grpc.pb.h"
#include "server/engine/engine_loop.h"
#include "server/rpc/grpc_server.h"
#include "tests/testing/fake_worker_pool.h"
#include "tests/unit/server/admission/byte_text_model.h"
#include "tests/unit/server/rpc/recording_counter.h"

namespace lockstep::server {

// The test runs the steps.
inline constexpr auto kManual = testing::FakeWorkerPool::Mode::kManual;

struct FrontendOptions {
  // The model's answer to everything; then it goes on with EOS. "" stands for an endless "a".
  std::string answer;
  // Instead of that, random tokens: a function of the tokens before, and of the seed.
  bool is_random = false;
  testing::FakeWorkerPool::Mode mode = testing::FakeWorkerPool::Mode::kThreaded;
  int max_model_len = 2048;
  int max_num_seqs = 16;
  int max_queued_requests = 16;
  int max_num_batched_tokens = 2048;
  uint32_t num_kv_blocks = 4096;
  uint64_t max_request_bytes = Intake::kMaxBytes;
  // How long the workers wait for a mask.
  absl::Duration mask_patience = absl::Seconds(60);
};

class Frontend {
 public:
  explicit Frontend(const FrontendOptions& options);
  ~Frontend();

  TextModel& text() { return *text_; }
  EngineLoop& engine() { return *engine_; }
  testing::FakeWorkerPool& pool() { return *pool_; }
  GrpcServer& server() { return *server_; }
  RecordingCounter& counter() { return counter_; }
  v1::Inference::Stub& inference() { return *inference_; }
  v1::Admin::Stub& admin() { return *admin_; }
  const std::shared_ptr<grpc::Channel>& channel() { return channel_; }
  std::vector<int32_t> Tokens(std::string_view utf8) { return BytesAsTokens(*text_, utf8); }

  // Waits until the engine has neither running nor waiting requests. False if that takes too long.
  bool WaitUntilIdle();
  // Likewise until no step in flight, or request, uses a KV block.
  bool WaitUntilBlocksAreFree();
  // Likewise until it has this many, running and waiting together.
  bool WaitForRequests(uint64_t count);

 private:
  std::unique_ptr<TextModel> text_;
  ServedModel model_;
  worker::LlamaConfig config_;
  RecordingCounter counter_;
  std::unique_ptr<EngineLoop> engine_;
  std::unique_ptr<testing::FakeWorkerPool> pool_;
  std::unique_ptr<GrpcServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Inference::Stub> inference_;
  std::unique_ptr<v1::Admin::Stub> admin_;
};

// A stream read to its end.
struct StreamedAnswer {
  grpc::Status status;
  int num_started = 0;
  v1::Started started;
  std::vector<v1::Delta> deltas;
  int num_finished = 0;
  v1::Finished finished;
  std::string text;
  std::vector<int32_t> token_ids;
  // started, delta and finished came in the order that API promises.
  bool in_order = true;
};

StreamedAnswer ReadStream(grpc::ClientReader<v1::GenerateStreamResponse>& reader);
StreamedAnswer Stream(Frontend& frontend, const v1::GenerateRequest& request);

v1::GenerateRequest ParseRequest(const std::string& text_format);

// The path of the only field violation in the status' details; else empty.
std::string FieldOf(const grpc::Status& status);
bool HasRetryInfo(const grpc::Status& status);

// A unary call with bytes of the caller's choice.
grpc::Status CallRaw(Frontend& frontend, const std::string& method, const std::string& request,
                     std::string* response = nullptr);

// What grpc.health.v1 says: 1 SERVING, 2 NOT_SERVING; 0 if it did not answer.
int Health(Frontend& frontend, const std::string& service);

}  // namespace lockstep::server

#endif  // LOCKSTEP_TESTS_UNIT_SERVER_RPC_GRPC_SERVER_FIXTURE_H_
