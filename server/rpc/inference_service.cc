#include "server/rpc/inference_service.h"

#include "server/rpc/forward_call.h"
#include "server/rpc/generate_calls.h"
#include "server/rpc/text_calls.h"
#include "server/rpc/unary_call.h"

namespace lockstep::server {
namespace {

// gRPC would keep the bytes until the call ends, long after they have been parsed.
grpc::ByteBuffer TakeBytes(const grpc::ByteBuffer* request) {
  grpc::ByteBuffer bytes;
  const_cast<grpc::ByteBuffer*>(request)->Swap(&bytes);
  return bytes;
}

}  // namespace

grpc::ServerUnaryReactor* InferenceService::Generate(grpc::CallbackServerContext* call,
                                                     const grpc::ByteBuffer* request,
                                                     grpc::ByteBuffer* response) {
  made_.Take();
  return new GenerateCall(context_, *call, TakeBytes(request), *response);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* InferenceService::GenerateStream(
    grpc::CallbackServerContext* call, const grpc::ByteBuffer* request) {
  made_.Take();
  return new GenerateStreamCall(context_, *call, TakeBytes(request));
}

grpc::ServerUnaryReactor* InferenceService::Forward(grpc::CallbackServerContext* call,
                                                    const grpc::ByteBuffer* request,
                                                    grpc::ByteBuffer* response) {
  made_.Take();
  return new ForwardCall(context_, *call, TakeBytes(request), *response);
}

grpc::ServerUnaryReactor* InferenceService::Tokenize(grpc::CallbackServerContext* call,
                                                     const grpc::ByteBuffer* request,
                                                     grpc::ByteBuffer* response) {
  made_.Take();
  return RunUnaryCall<v1::TokenizeRequest>(
      context_.intake.For(request->Length()), context_.request_bytes, *call, *request, *response,
      [this](const v1::TokenizeRequest& tokenize) {
        return lockstep::server::Tokenize(context_.admission, context_.text, tokenize);
      });
}

grpc::ServerUnaryReactor* InferenceService::Detokenize(grpc::CallbackServerContext* call,
                                                       const grpc::ByteBuffer* request,
                                                       grpc::ByteBuffer* response) {
  made_.Take();
  return RunUnaryCall<v1::DetokenizeRequest>(
      context_.intake.For(request->Length()), context_.request_bytes, *call, *request, *response,
      [this](const v1::DetokenizeRequest& detokenize) {
        return lockstep::server::Detokenize(context_.admission, context_.text, detokenize);
      });
}

grpc::ServerUnaryReactor* InferenceService::GetModelInfo(grpc::CallbackServerContext* call,
                                                         const grpc::ByteBuffer* request,
                                                         grpc::ByteBuffer* response) {
  made_.Take();
  return RunUnaryCall<v1::GetModelInfoRequest>(
      context_.delivery, context_.request_bytes, *call, *request, *response,
      [this](const v1::GetModelInfoRequest& get) -> absl::StatusOr<v1::GetModelInfoResponse> {
        if (auto status = context_.admission.CheckModel(get.model()); !status.ok()) return status;
        v1::GetModelInfoResponse info = model_info_;
        info.set_num_kv_blocks(context_.engine.Snapshot().kv_blocks_total);
        return info;
      });
}

}  // namespace lockstep::server
