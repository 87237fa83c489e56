// AdminClient: mneme.v1.AdminService and grpc.health.v1.Health as C++ methods.
#ifndef MNEME_CLIENT_ADMIN_CLIENT_H_
#define MNEME_CLIENT_ADMIN_CLIENT_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/channel.h"
#include "mneme/v1/admin.pb.h"

namespace mneme {

// The control plane of one server, one method per RPC; deadlines, retries and errors as in MemoryClient. Thread-safe.
class AdminClient {
 public:
  explicit AdminClient(std::shared_ptr<grpc::Channel> channel, ClientOptions options = {});
  ~AdminClient();

  // Returns ALREADY_EXISTS if the name is taken. A retry of a create whose answer was lost says so too.
  absl::StatusOr<v1::MemoryDescription> CreateMemory(const v1::MemoryDescription& memory);
  // Returns NOT_FOUND if there is no such memory.
  absl::StatusOr<v1::MemoryDescription> GetMemory(const std::string& name);
  // All memories, by name, however many pages that takes.
  absl::StatusOr<std::vector<v1::MemoryDescription>> ListMemories();
  // Returns FAILED_PRECONDITION while an alias points to it.
  absl::Status DropMemory(const std::string& name);

  // Returns ALREADY_EXISTS if a memory has the name; ABORTED if the alias is not as expected.
  absl::StatusOr<v1::SetAliasResponse> SetAlias(const v1::SetAliasRequest& request);
  // Returns NOT_FOUND if there is no such alias.
  absl::Status DropAlias(const std::string& alias);
  // All aliases, by name, however many pages that takes.
  absl::StatusOr<std::vector<v1::Alias>> ListAliases();

  // Builds, telling `progress` as it goes; that returning false cancels the work (CANCELLED). Has no deadline.
  absl::Status BuildIndex(const v1::BuildIndexRequest& request,
                          const std::function<bool(const v1::BuildIndexResponse&)>& progress);
  // Calls `piece` with each message as it comes; its error ends the call and is returned. Has no deadline.
  // Returns FAILED_PRECONDITION while the partition has no index.
  absl::Status ExportIndex(const v1::ExportIndexRequest& request,
                           const std::function<absl::Status(const v1::ExportIndexResponse&)>& piece);
  // Prunes, telling `progress` as it goes; that returning false cancels the work (CANCELLED). Has no deadline.
  // Returns the last message; FAILED_PRECONDITION when the guard refuses.
  absl::StatusOr<v1::PruneMemoryResponse> PruneMemory(
      const v1::PruneMemoryRequest& request, const std::function<bool(const v1::PruneMemoryResponse&)>& progress);
  // Writes a backup, telling `progress` as it goes; that returning false cancels the work (CANCELLED). Has no deadline.
  // Returns the last message; FAILED_PRECONDITION if the server has no directory for backups.
  absl::StatusOr<v1::CreateBackupResponse> CreateBackup(
      const v1::CreateBackupRequest& request, const std::function<bool(const v1::CreateBackupResponse&)>& progress);
  // All backups, by number, however many pages that takes.
  absl::StatusOr<std::vector<v1::Backup>> ListBackups();
  // Every replica of every shard, by shard and replica. Has no deadline: with `digest` each reads all that it has.
  absl::StatusOr<std::vector<v1::ShowClusterResponse>> ShowCluster(bool digest);
  // Adds a replica, drains one, or both, telling `progress` as it goes; that returning false ends it (CANCELLED). Has
  // no deadline. Returns the last message; NOT_FOUND, FAILED_PRECONDITION and UNAVAILABLE as the server says.
  absl::StatusOr<v1::ChangeReplicasResponse> ChangeReplicas(
      const v1::ChangeReplicasRequest& request, const std::function<bool(const v1::ChangeReplicasResponse&)>& progress);
  // Of one memory; of the whole deployment when `name` is empty.
  absl::StatusOr<v1::GetStatisticsResponse> GetStatistics(const std::string& name);
  absl::StatusOr<v1::ProbeRecallResponse> ProbeRecall(const v1::ProbeRecallRequest& request);
  absl::StatusOr<v1::PingResponse> Ping();

  // grpc.health.v1.Health/Check: true when `service` (empty: the server) is SERVING.
  absl::StatusOr<bool> IsServing(const std::string& service);

 private:
  struct Stub;  // keeps gRPC out of this header
  const std::unique_ptr<Stub> stub_;
  const ClientOptions options_;
};

}  // namespace mneme

#endif  // MNEME_CLIENT_ADMIN_CLIENT_H_
