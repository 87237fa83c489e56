// How a process of role `shard` opens what it hosts: first what names are, then its entries, then what its log has
// beyond them.
#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "cluster/checkpoint_copy.h"
#include "cluster/kafka_log.h"
#include "cluster/replica_log.h"
#include "common/status_macros.h"
#include "engine/watcher_clocks.h"
#include "security/channel_security.h"
#include "server/open_logs.h"
#include "server/server.h"
#include "storage/data_directory.h"

namespace mneme {

absl::StatusOr<OpenTellerOptions> Server::TellerOptions(const std::shared_ptr<WatcherClocks>& clocks) {
  OpenTellerOptions options;
  options.data_dir = options_.data_dir;
  options.shards = ShardsOf(options_);
  options.addresses = ReplicasOf(options_.shard_addresses.front());
  options.replica = options_.replica;
  ASSIGN_OR_RETURN(options.security, ShardSecurity());
  options.clocks = clocks;
  options.events = Events();
  options.give_up = give_up_;
  return options;
}

absl::Status Server::OpenNames(const std::shared_ptr<WatcherClocks>& clocks, HostedShard& hosted) {
  ASSIGN_OR_RETURN(OpenTellerOptions options, TellerOptions(clocks));
  ASSIGN_OR_RETURN(name_logs_, OpenNameLogs(options_, Events(), give_up_));
  options.log = name_logs_->Open(0);
  ASSIGN_OR_RETURN(OpenedTeller opened, OpenTeller(options));
  names_ = std::make_unique<OpenedTeller>(std::move(opened));
  hosted.identity = names_->teller->deployment();
  hosted.directory = names_->directory;
  hosted.catalogue = names_->teller->names().Everything();
  hosted.names = &names_->teller->catalogue();
  hosted.await_names = [teller = names_->teller.get()](const CallLimits& limits) {
    return teller->applier().AwaitEnd(limits);
  };
  return absl::OkStatus();
}

absl::Status Server::WatchNames(HostedShard& hosted) {
  ASSIGN_OR_RETURN(auto security, ShardSecurity());
  ASSIGN_OR_RETURN(watch_, CatalogueWatch::Start({ReplicasOf(options_.shard_addresses.front()), ShardsOf(options_),
                                                  Events(), std::move(security)},
                                                 give_up_));
  hosted.identity = watch_->identity();
  hosted.catalogue = watch_->names().Everything();
  // What a shard that is empty had is in its log, or the log says that it is not.
  hosted.accept_empty = options_.accept_empty_shard || logs_ != nullptr;
  return absl::OkStatus();
}

// Shard 0 tells all others what the catalogue holds; they wait for it.
absl::Status Server::OpenShard() {
  DeploymentOptions options = LocalOptions();
  HostedShard& hosted = options.hosted.emplace();
  hosted.number = options_.shard_number;
  hosted.replica = options_.replica;
  hosted.address = ReplicasOf(options_.shard_addresses[options_.shard_number])[options_.replica];
  const auto clocks = std::make_shared<WatcherClocks>();
  if (options_.shard_number != 0) {
    RETURN_IF_ERROR(WatchNames(hosted));
  } else if (logs_ != nullptr) {
    RETURN_IF_ERROR(OpenNames(clocks, hosted));
  }
  std::shared_ptr<ShardLog> log;
  if (logs_ != nullptr) {
    StampCheck check_stamp = [clocks](int64_t stamp_ms) { return clocks->Check(stamp_ms); };
    if (watch_ != nullptr) check_stamp = watch_->stamp_check();
    log = std::make_shared<ReplicaLog>(logs_->Open(options_.shard_number), std::move(check_stamp), Events());
  }
  hosted.log = log;
  if (log != nullptr) {
    hosted.prepare = [this, &log](const DataDirectory& directory, CatalogueChanges& catalogue) -> absl::Status {
      ASSIGN_OR_RETURN(const bool copied, PrepareReplica(directory, *log));
      return copied ? RefreshNames(catalogue) : absl::OkStatus();
    };
  }
  ASSIGN_OR_RETURN(std::unique_ptr<LocalDeployment> opened, LocalDeployment::Open(std::move(options)));
  LocalDeployment* const shard = opened.get();
  local_.store(shard, std::memory_order_release);
  deployment_ = std::move(opened);
  FollowNames(shard, clocks);
  if (log == nullptr) return absl::OkStatus();
  // Names need not wait for entries, and others wait for them. How far a replica is may be told in any case.
  front_end_.SetReplaying(true);
  front_end_.Serve(shard);
  RETURN_IF_ERROR(AwaitReplayed(*shard, *log, Events(), give_up_));
  front_end_.SetReplaying(false);
  return absl::OkStatus();
}

void Server::FollowNames(LocalDeployment* shard, const std::shared_ptr<WatcherClocks>& clocks) {
  const auto take = [shard](const CatalogueChanges& changes) { return shard->TakeCatalogue(changes); };
  if (watch_ != nullptr) return watch_->Forward(take);
  if (names_ != nullptr) {
    names_->teller->applier().Forward(take);
    return front_end_.Serve(names_->teller.get());
  }
  CatalogueFeedOptions feed;
  feed.fresh = shard->names().next_number() <= 1;
  feed.clocks = clocks;
  feed_ = std::make_unique<CatalogueFeed>(&shard->names(), feed);
  front_end_.Serve(feed_.get());
}

absl::StatusOr<bool> Server::PrepareReplica(const DataDirectory& directory, const ShardLog& log) {
  const uint32_t shard = options_.shard_number;
  CheckpointCopyOptions copy;
  copy.deployment = directory.deployment();
  copy.shard = shard;
  copy.shards = directory.shards();
  const std::vector<std::string> of_options = ReplicasOf(options_.shard_addresses[shard]);
  // Where an operator has said who they are, options may name some that have gone, and this process may not have heard
  // of the latest: it asks them all, those first.
  const ReplicaList list = (names_ != nullptr ? names_->teller->names() : watch_->names()).ReplicasOf(shard);
  std::vector<std::string> replicas = list.fixed ? list.addresses : std::vector<std::string>();
  replicas.insert(replicas.end(), of_options.begin(), of_options.end());
  for (const std::string& replica : replicas) {
    const bool known = std::find(copy.sources.begin(), copy.sources.end(), replica) != copy.sources.end();
    if (!known && !replica.empty() && replica != of_options[options_.replica]) copy.sources.push_back(replica);
  }
  ASSIGN_OR_RETURN(copy.security, ShardSecurity());
  copy.log = &log;
  // Who tells names does not wait for brokers that are away: others wait for him.
  copy.waits = names_ == nullptr || names_->reached_log;
  copy.events = Events();
  copy.give_up = give_up_;
  return PrepareStore(copy, directory.StorePath(shard), directory.IndexPath(shard));
}

// A copy has entries of memories that were made while it came: what was known before it is too old to open it with.
absl::Status Server::RefreshNames(CatalogueChanges& catalogue) {
  if (names_ != nullptr) {
    ASSIGN_OR_RETURN(const OpenTellerOptions options, TellerOptions(nullptr));
    RETURN_IF_ERROR(AwaitNames(*names_->teller, options));
    catalogue = names_->teller->names().Everything();
    return absl::OkStatus();
  }
  const auto now = std::chrono::steady_clock::now();
  while (!watch_->KnowsAllOf(now)) {
    if (give_up_()) return absl::CancelledError("gave up waiting for the names of the deployment");
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  catalogue = watch_->names().Everything();
  return absl::OkStatus();
}

}  // namespace mneme
