// ShardFan: the shards of a deployment, each in processes of its own, and asking several of them at once.
#ifndef MNEME_CLUSTER_SHARD_FAN_H_
#define MNEME_CLUSTER_SHARD_FAN_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "cluster/call_timer.h"
#include "cluster/canceller.h"
#include "cluster/shard_channel.h"
#include "engine/commands.h"
#include "engine/routing.h"

namespace mneme {

// The addresses of the replicas of each shard, by their numbers.
using ShardAddresses = std::vector<std::vector<std::string>>;

// Thread-safe.
class ShardFan {
 public:
  // What each of several shards answered, in their order.
  using Answers = std::vector<absl::StatusOr<std::string>>;
  using Body = std::function<Question(uint32_t shard)>;

  // `addresses` by the numbers of the shards of the deployment `identity`. `security` may be null, and is borrowed.
  ShardFan(uint64_t identity, const ShardAddresses& addresses, const ChannelSecurity* security);

  const Routing& routing() const { return routing_; }
  uint32_t size() const { return static_cast<uint32_t>(channels_.size()); }
  const ShardChannel& shard(uint32_t number) const { return *channels_[number]; }
  // As ShardChannel::SetReplicas.
  void SetReplicas(uint32_t number, const std::vector<std::string>& addresses) {
    channels_[number]->SetReplicas(addresses);
  }
  // Ends every call, and those that are made later, with CANCELLED.
  void GiveUp() const { canceller_.CancelAll(); }
  // The numbers of all.
  std::vector<uint32_t> all() const;

  // Asks all of `shards` at once; `done` is called once, when all have answered or failed.
  void AskEach(ShardChannel::Method method, absl::Span<const uint32_t> shards, const Body& body,
               const CallLimits& limits, std::function<void(Answers)> done) const;
  // As AskEach; `done` is given the bodies of their answers, or the error of the first of them in that order.
  void Ask(ShardChannel::Method method, absl::Span<const uint32_t> shards, const Body& body, const CallLimits& limits,
           std::function<void(absl::StatusOr<std::vector<std::string>>)> done) const;
  // Blocks.
  absl::StatusOr<std::vector<std::string>> AskAndWait(ShardChannel::Method method, absl::Span<const uint32_t> shards,
                                                      const Body& body, const CallLimits& limits) const;

  // What `shard` has to wait for: its parts of `version`, and what was acknowledged here (ShardChannel::seen), which a
  // lease is not asked for.
  // INVALID_ARGUMENT of CheckVersion() was told before.
  Version PartOf(const Version& version, uint32_t shard, const LeaseHandle& lease = nullptr) const;
  // INVALID_ARGUMENT when it names a shard that does not exist.
  absl::Status CheckVersion(const Version& version) const;

 private:
  const Routing routing_;
  mutable Canceller canceller_;
  CallTimer timer_;
  std::vector<std::unique_ptr<ShardChannel>> channels_;
};

}  // namespace mneme

#endif  // MNEME_CLUSTER_SHARD_FAN_H_
