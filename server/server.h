// Server: one process of any role: gRPC in front, a deployment behind, an admin port beside. The deployment of a front
// end has its shards in other processes; that of a shard is served to front ends, not to clients.
#ifndef MNEME_SERVER_SERVER_H_
#define MNEME_SERVER_SERVER_H_

#include <grpcpp/server.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "cluster/catalogue_watch.h"
#include "common/mutex.h"
#include "engine/catalogue_feed.h"
#include "engine/local_deployment.h"
#include "server/admin_http.h"
#include "server/front_end.h"
#include "server/log.h"
#include "server/metrics.h"
#include "server/open_teller.h"
#include "server/options.h"

namespace mneme {

class DataDirectory;
class KafkaLogs;
class RemoteDeployment;
class ShardLog;

// Listens (NOT_SERVING) before it opens the data, so that a probe can tell a server that recovers from one that is
// gone; port files are there while it serves. Thread-compatible.
class Server {
 public:
  // UNAVAILABLE when an address is taken; errors of LocalDeployment::Open and RemoteDeployment::Open. CANCELLED when
  // `give_up`, which is asked while other processes are waited for, says so. `log` must outlive the server.
  static absl::StatusOr<std::unique_ptr<Server>> Start(ServerOptions options, Log* log,
                                                       std::function<bool()> give_up = [] { return false; });
  // SIGHUP: reads the token file again; a broken one is logged with the reason, and what was known goes on. TLS files
  // are read by themselves: this says whether they can be used. Thread-safe.
  void Reload();
  // Drains first, when that has not been done.
  ~Server();

  // Of the first listen address.
  int port() const { return port_; }
  // 0 when off.
  int admin_port() const { return admin_ == nullptr ? 0 : admin_->port(); }
  Deployment& deployment() { return *deployment_; }

  // NOT_SERVING at once; after the drain delay streams end, calls in flight get kDrainSeconds, then everything is
  // flushed and closed.
  void Drain();

 private:
  Server(ServerOptions options, Log* log, std::function<bool()> give_up, std::unique_ptr<AccessControl> access);

  absl::Status StartAdmin();
  // As clients of gRPC are let in: by --tokens, or else by --tls-client-ca, or everybody.
  bool MayReadPages(const AdminReader& reader) const;
  absl::Status Listen();
  absl::Status OpenDeployment();
  absl::Status OpenLocal();
  absl::Status OpenShard();
  // Of a replica of shard 0: what it tells of names, before its shard is opened.
  absl::StatusOr<OpenTellerOptions> TellerOptions(const std::shared_ptr<WatcherClocks>& clocks);
  absl::Status OpenNames(const std::shared_ptr<WatcherClocks>& clocks, HostedShard& hosted);
  // Of any other shard: what it is told.
  absl::Status WatchNames(HostedShard& hosted);
  // Before the store of a shard with a log is opened; whether it was copied.
  absl::StatusOr<bool> PrepareReplica(const DataDirectory& directory, const ShardLog& log);
  // What names are from now on, which it waits for.
  absl::Status RefreshNames(CatalogueChanges& catalogue);
  // From now on the shard is told what changes, and tells it, if it is shard 0.
  void FollowNames(LocalDeployment* shard, const std::shared_ptr<WatcherClocks>& clocks);
  absl::Status OpenRemote();
  DeploymentOptions LocalOptions();
  absl::StatusOr<std::shared_ptr<const ChannelSecurity>> ShardSecurity() const;
  // Says once what a stranger could do.
  void WarnOfStrangers() const;
  // Descriptors for the stores, whoever connects; warns where there are too few.
  void ReserveFiles() const;
  // Of certificates that are about to end, and keys that others may read.
  void WarnOfFiles() const;
  EventSink Events();
  absl::Status WritePortFiles();
  void RemovePortFiles() const;
  // Logs what the engine tells, and counts damage.
  void OnEvent(const std::string& event, const std::string& detail);
  std::string Config() const;
  void SetServing(bool serving);
  // What health and /readyz say: it serves, a front end knows what names mean, and a replica applies its log.
  void TellHealth() ABSL_LOCKS_EXCLUDED(health_mutex_);
  std::string ExposeMetrics() const;

  const ServerOptions options_;
  const std::function<bool()> give_up_;
  Log* const log_;
  Metrics metrics_;
  const std::unique_ptr<AccessControl> access_;
  FrontEnd front_end_;
  std::atomic<bool> ready_{false};
  std::atomic<bool> serving_{false};
  std::atomic<bool> names_lost_{false};
  std::atomic<bool> log_failed_{false};
  Mutex health_mutex_;  // held while health is told
  std::unique_ptr<AdminHttp> admin_;
  std::vector<std::unique_ptr<grpc::Service>> services_;
  std::unique_ptr<KafkaLogs> logs_;       // outlives the deployment, and so does
  std::unique_ptr<KafkaLogs> name_logs_;  // that of names, of a replica of shard 0
  // Of a shard: what it knows of the catalogue, or tells others of it. All use the deployment, and end first.
  std::unique_ptr<Deployment> deployment_;
  RemoteDeployment* remote_ = nullptr;  // the same, of a front end, and
  std::atomic<LocalDeployment*> local_{nullptr};  // of a shard, while it opens, too
  std::unique_ptr<CatalogueWatch> watch_;  // of a shard other than 0
  std::unique_ptr<CatalogueFeed> feed_;    // of shard 0 without a log, which owns the catalogue
  std::unique_ptr<OpenedTeller> names_;    // of a replica of shard 0
  std::shared_ptr<grpc::ServerCredentials> credentials_;  // its files are looked at while it lives; null without TLS
  std::unique_ptr<grpc::Server> grpc_;
  std::atomic<uint32_t> shards_{0};  // 0: not known yet
  int port_ = 0;
  bool port_files_written_ = false;
  bool drained_ = false;
};

}  // namespace mneme

#endif  // MNEME_SERVER_SERVER_H_
