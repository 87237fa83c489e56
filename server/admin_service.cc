#include "common/limits.h"
#include "mneme/v1/admin.grpc.pb.h"
#include "server/admin_handlers.h"
#include "server/alias_handlers.h"
#include "server/backup_handlers.h"
#include "server/build_index.h"
#include "server/cluster_handlers.h"
#include "server/export_stream.h"
#include "server/probe_recall.h"
#include "server/prune_memory.h"
#include "server/services.h"
#include "server/unary_call.h"

namespace mneme {
namespace {

using v1::AdminService;

template <typename Next>
using RawMemories = AdminService::WithRawCallbackMethod_CreateMemory<AdminService::WithRawCallbackMethod_GetMemory<
    AdminService::WithRawCallbackMethod_ListMemories<AdminService::WithRawCallbackMethod_DropMemory<Next>>>>;
template <typename Next>
using RawAliases = AdminService::WithRawCallbackMethod_SetAlias<
    AdminService::WithRawCallbackMethod_DropAlias<AdminService::WithRawCallbackMethod_ListAliases<Next>>>;
template <typename Next>
using RawState = AdminService::WithRawCallbackMethod_BuildIndex<AdminService::WithRawCallbackMethod_ExportIndex<
    AdminService::WithRawCallbackMethod_GetStatistics<AdminService::WithRawCallbackMethod_ProbeRecall<
        AdminService::WithRawCallbackMethod_PruneMemory<AdminService::WithRawCallbackMethod_Ping<Next>>>>>>;
template <typename Next>
using RawBackups =
    AdminService::WithRawCallbackMethod_CreateBackup<AdminService::WithRawCallbackMethod_ListBackups<
        AdminService::WithRawCallbackMethod_ShowCluster<AdminService::WithRawCallbackMethod_ChangeReplicas<Next>>>>;

constexpr char kService[] = "mneme.v1.AdminService";

class RawAdminService final : public RawMemories<RawAliases<RawState<RawBackups<AdminService::Service>>>> {
 public:
  explicit RawAdminService(FrontEnd& front_end) : front_end_(front_end) {
    front_end_.AlsoCount(&cluster_pool_);
    front_end_.AlsoCount(&change_pool_);
  }

  grpc::ServerUnaryReactor* CreateMemory(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                         grpc::ByteBuffer* out) override {
    return Blocking<v1::CreateMemoryRequest, v1::CreateMemoryResponse>(create_, context, in, out, HandleCreateMemory);
  }
  grpc::ServerUnaryReactor* GetMemory(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                      grpc::ByteBuffer* out) override {
    return Blocking<v1::GetMemoryRequest, v1::GetMemoryResponse>(get_, context, in, out, HandleGetMemory);
  }
  grpc::ServerUnaryReactor* ListMemories(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                         grpc::ByteBuffer* out) override {
    return Blocking<v1::ListMemoriesRequest, v1::ListMemoriesResponse>(list_, context, in, out, HandleListMemories);
  }
  grpc::ServerUnaryReactor* DropMemory(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                       grpc::ByteBuffer* out) override {
    return Blocking<v1::DropMemoryRequest, v1::DropMemoryResponse>(drop_, context, in, out, HandleDropMemory);
  }
  grpc::ServerUnaryReactor* SetAlias(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                     grpc::ByteBuffer* out) override {
    return Blocking<v1::SetAliasRequest, v1::SetAliasResponse>(set_alias_, context, in, out, HandleSetAlias);
  }
  grpc::ServerUnaryReactor* DropAlias(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                      grpc::ByteBuffer* out) override {
    return Blocking<v1::DropAliasRequest, v1::DropAliasResponse>(drop_alias_, context, in, out, HandleDropAlias);
  }
  grpc::ServerUnaryReactor* ListAliases(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                        grpc::ByteBuffer* out) override {
    return Blocking<v1::ListAliasesRequest, v1::ListAliasesResponse>(list_aliases_, context, in, out,
                                                                     HandleListAliases);
  }
  grpc::ServerWriteReactor<grpc::ByteBuffer>* BuildIndex(grpc::CallbackServerContext* context,
                                                         const grpc::ByteBuffer* in) override {
    using Stream = ProgressStream<v1::BuildIndexRequest, v1::BuildIndexResponse>;
    return Stream::Start(front_end_, front_end_.long_calls(), build_, context, in, HandleBuildIndex);
  }
  grpc::ServerWriteReactor<grpc::ByteBuffer>* ExportIndex(grpc::CallbackServerContext* context,
                                                          const grpc::ByteBuffer* in) override {
    return ExportStream::Start(front_end_, export_, context, in);
  }
  grpc::ServerWriteReactor<grpc::ByteBuffer>* PruneMemory(grpc::CallbackServerContext* context,
                                                          const grpc::ByteBuffer* in) override {
    using Stream = ProgressStream<v1::PruneMemoryRequest, v1::PruneMemoryResponse>;
    return Stream::Start(front_end_, front_end_.long_calls(), prune_, context, in, HandlePruneMemory);
  }
  grpc::ServerWriteReactor<grpc::ByteBuffer>* CreateBackup(grpc::CallbackServerContext* context,
                                                           const grpc::ByteBuffer* in) override {
    using Stream = ProgressStream<v1::CreateBackupRequest, v1::CreateBackupResponse>;
    return Stream::Start(front_end_, front_end_.long_calls(), create_backup_, context, in, HandleCreateBackup);
  }
  grpc::ServerUnaryReactor* ListBackups(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                        grpc::ByteBuffer* out) override {
    return Blocking<v1::ListBackupsRequest, v1::ListBackupsResponse>(list_backups_, context, in, out,
                                                                     HandleListBackups);
  }
  grpc::ServerWriteReactor<grpc::ByteBuffer>* ShowCluster(grpc::CallbackServerContext* context,
                                                          const grpc::ByteBuffer* in) override {
    using Stream = ProgressStream<v1::ShowClusterRequest, v1::ShowClusterResponse>;
    return Stream::Start(front_end_, cluster_pool_, show_cluster_, context, in, HandleShowCluster, Pace::kEach);
  }
  grpc::ServerWriteReactor<grpc::ByteBuffer>* ChangeReplicas(grpc::CallbackServerContext* context,
                                                             const grpc::ByteBuffer* in) override {
    using Stream = ProgressStream<v1::ChangeReplicasRequest, v1::ChangeReplicasResponse>;
    return Stream::Start(front_end_, change_pool_, change_replicas_, context, in, HandleChangeReplicas);
  }
  grpc::ServerUnaryReactor* GetStatistics(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                          grpc::ByteBuffer* out) override {
    return Blocking<v1::GetStatisticsRequest, v1::GetStatisticsResponse>(statistics_, context, in, out,
                                                                         HandleGetStatistics);
  }
  grpc::ServerUnaryReactor* ProbeRecall(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                        grpc::ByteBuffer* out) override {
    return StartBlocking<v1::ProbeRecallRequest, v1::ProbeRecallResponse>(front_end_, probe_, context, in, out,
                                                                          HandleProbeRecall, front_end_.long_calls());
  }
  grpc::ServerUnaryReactor* Ping(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                 grpc::ByteBuffer* out) override {
    return StartUnary<v1::PingRequest, v1::PingResponse>(front_end_, ping_, context, in, out, HandlePing);
  }

 private:
  template <typename Request, typename Response>
  grpc::ServerUnaryReactor* Blocking(const RpcMethod& method, grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* in, grpc::ByteBuffer* out,
                                     BlockingHandler<Request, Response> handler) {
    return StartBlocking<Request, Response>(front_end_, method, context, in, out, handler, front_end_.calls());
  }
  RpcMethod Add(const char* name, const char* type) { return MakeMethod(front_end_, kService, name, type); }

  FrontEnd& front_end_;
  // Comparing replicas may take hours, and so may waiting for one, which somebody looks at.
  CallPool cluster_pool_{limits::kLongCallWorkers, limits::kMaxQueuedLongCalls};
  CallPool change_pool_{limits::kReplicaChangeWorkers, limits::kMaxQueuedLongCalls};
  const RpcMethod create_ = Add("CreateMemory", "unary");
  const RpcMethod get_ = Add("GetMemory", "unary");
  const RpcMethod list_ = Add("ListMemories", "unary");
  const RpcMethod drop_ = Add("DropMemory", "unary");
  const RpcMethod set_alias_ = Add("SetAlias", "unary");
  const RpcMethod drop_alias_ = Add("DropAlias", "unary");
  const RpcMethod list_aliases_ = Add("ListAliases", "unary");
  const RpcMethod build_ = Add("BuildIndex", "server_stream");
  const RpcMethod export_ = Add("ExportIndex", "server_stream");
  const RpcMethod statistics_ = Add("GetStatistics", "unary");
  const RpcMethod probe_ = Add("ProbeRecall", "unary");
  const RpcMethod prune_ = Add("PruneMemory", "server_stream");
  const RpcMethod create_backup_ = Add("CreateBackup", "server_stream");
  const RpcMethod list_backups_ = Add("ListBackups", "unary");
  const RpcMethod show_cluster_ = Add("ShowCluster", "server_stream");
  const RpcMethod change_replicas_ = Add("ChangeReplicas", "server_stream");
  const RpcMethod ping_ = Add("Ping", "unary");
};

}  // namespace

std::unique_ptr<grpc::Service> MakeAdminService(FrontEnd& front_end) {
  return std::make_unique<RawAdminService>(front_end);
}

}  // namespace mneme
