#include "cluster/shard_fan.h"

#include <algorithm>
#include <atomic>
#include <future>
#include <numeric>
#include <utility>

namespace mneme {
namespace {

// The answers of one question, each written by one call.
struct Asked {
  explicit Asked(size_t shards) : answers(shards, absl::StatusOr<std::string>(std::string())), pending(shards) {}

  ShardFan::Answers answers;
  std::atomic<size_t> pending;
};

absl::StatusOr<std::vector<std::string>> Collect(ShardFan::Answers answers) {
  std::vector<std::string> bodies;
  for (auto& answer : answers) {
    if (!answer.ok()) return answer.status();
    bodies.push_back(*std::move(answer));
  }
  return bodies;
}

}  // namespace

ShardFan::ShardFan(uint64_t identity, const ShardAddresses& addresses, const ChannelSecurity* security)
    : routing_(static_cast<uint32_t>(addresses.size())) {
  for (uint32_t number = 0; number < addresses.size(); ++number) {
    internal_wire::Target target;
    target.set_protocol(kInternalProtocol);
    target.set_deployment(identity);
    target.set_shard(number);
    target.set_shards(static_cast<uint32_t>(addresses.size()));
    channels_.push_back(
        std::make_unique<ShardChannel>(std::move(target), addresses[number], security, &canceller_, &timer_));
  }
}

std::vector<uint32_t> ShardFan::all() const {
  std::vector<uint32_t> numbers(channels_.size());
  std::iota(numbers.begin(), numbers.end(), 0U);
  return numbers;
}

void ShardFan::AskEach(ShardChannel::Method method, absl::Span<const uint32_t> shards, const Body& body,
                       const CallLimits& limits, std::function<void(Answers)> done) const {
  if (shards.empty()) return done(Answers());
  const auto asked = std::make_shared<Asked>(shards.size());
  const auto shared_done = std::make_shared<decltype(done)>(std::move(done));
  for (size_t i = 0; i < shards.size(); ++i) {
    const auto answered = [asked, shared_done, i](absl::StatusOr<std::string> got) {
      asked->answers[i] = std::move(got);
      if (asked->pending.fetch_sub(1) == 1) (*shared_done)(std::move(asked->answers));
    };
    channels_[shards[i]]->Ask(method, body(shards[i]), limits, answered);
  }
}

void ShardFan::Ask(ShardChannel::Method method, absl::Span<const uint32_t> shards, const Body& body,
                   const CallLimits& limits,
                   std::function<void(absl::StatusOr<std::vector<std::string>>)> done) const {
  AskEach(method, shards, body, limits,
          [done = std::move(done)](Answers answers) { done(Collect(std::move(answers))); });
}

absl::StatusOr<std::vector<std::string>> ShardFan::AskAndWait(ShardChannel::Method method,
                                                              absl::Span<const uint32_t> shards, const Body& body,
                                                              const CallLimits& limits) const {
  const auto told = std::make_shared<std::promise<absl::StatusOr<std::vector<std::string>>>>();
  auto answers = told->get_future();
  Ask(method, shards, body, limits, [told](auto result) { told->set_value(std::move(result)); });
  return answers.get();
}

Version ShardFan::PartOf(const Version& version, uint32_t shard, const LeaseHandle& lease) const {
  Version part;
  part.memory = version.memory;
  for (const Version::Part& each : version.parts) {
    if (each.shard == shard) part.parts.push_back(each);
  }
  const Sequence seen = lease == nullptr ? channels_[shard]->seen() : 0;
  if (seen == 0) return part;
  if (part.parts.empty()) part.parts.push_back({shard, seen});
  Sequence& sequence = part.parts.front().sequence;
  sequence = std::max(sequence, seen);
  return part;
}

absl::Status ShardFan::CheckVersion(const Version& version) const {
  for (const Version::Part& part : version.parts) {
    if (part.shard >= size()) return absl::InvalidArgumentError("at_least_version names a shard that does not exist");
  }
  return absl::OkStatus();
}

}  // namespace mneme
