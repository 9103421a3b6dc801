// lockstep.v1.Inference.
#ifndef LOCKSTEP_SERVER_RPC_INFERENCE_SERVICE_H_
#define LOCKSTEP_SERVER_RPC_INFERENCE_SERVICE_H_

#include <utility>

#include "lockstep/v1/inference.grpc.pb.h"
#include "server/rpc/service_context.h"
#include "server/sync/handoff.h"

namespace lockstep::server {

// Every method takes raw bytes: see message_codec.h.
using RawInference = v1::Inference::WithRawCallbackMethod_Generate<
    v1::Inference::WithRawCallbackMethod_GenerateStream<
        v1::Inference::WithRawCallbackMethod_Forward<v1::Inference::WithRawCallbackMethod_Tokenize<
            v1::Inference::WithRawCallbackMethod_Detokenize<
                v1::Inference::WithRawCallbackMethod_GetModelInfo<v1::Inference::Service>>>>>>;

class InferenceService final : public RawInference {
 public:
  // Borrows the context. `model_info` is what GetModelInfo says, but for what the engine knows.
  InferenceService(ServiceContext& context, v1::GetModelInfoResponse model_info)
      : context_(context), model_info_(std::move(model_info)) {
    made_.Give();
  }

  grpc::ServerUnaryReactor* Generate(grpc::CallbackServerContext* call,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* GenerateStream(
      grpc::CallbackServerContext* call, const grpc::ByteBuffer* request) override;
  grpc::ServerUnaryReactor* Forward(grpc::CallbackServerContext* call,
                                    const grpc::ByteBuffer* request,
                                    grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* call,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* call,
                                       const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* GetModelInfo(grpc::CallbackServerContext* call,
                                         const grpc::ByteBuffer* request,
                                         grpc::ByteBuffer* response) override;

 private:
  ServiceContext& context_;
  const v1::GetModelInfoResponse model_info_;
  Handoff made_;  // before every call
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_RPC_INFERENCE_SERVICE_H_
