#include "engine/earlier_requests.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "common/status_macros.h"
#include "engine/routing.h"
#include "engine/version.h"

namespace mneme {
namespace {

// Whether the shard that `owner_of` names, by the routing of then, has a part.
template <typename OwnerOf>
bool Covers(const RequestParts& parts, const OwnerOf& owner_of) {
  return std::any_of(parts.begin(), parts.end(),
                     [&](const RequestPart& part) { return owner_of(Routing(part.shards)) == part.shard; });
}

absl::Status WrongNumberOfAnswers() {
  return absl::DataLossError("what is remembered of a request does not have an answer for each of its operations");
}

}  // namespace

void RemoveCovered(const RequestParts& parts, const MemoryRecord& memory, PartitionId partition,
                   EntryColumns& entries) {
  EntryColumns rest;
  rest.values.width = entries.values.width;
  for (size_t i = 0; i < entries.count; ++i) {
    const EntryId id = entries.ids[i];
    const auto owner_of = [&](const Routing& routing) { return routing.OwnerOfEntry(memory, partition, id); };
    if (!Covers(parts, owner_of)) rest.Append(entries.At(i));
  }
  entries = std::move(rest);
}

bool CoversDeletion(const RequestParts& parts, const MemoryRecord& memory, const PartitionSelection& partitions) {
  std::map<uint32_t, std::set<uint32_t>> shards_that_did;  // by how many there were
  for (const RequestPart& part : parts) shards_that_did[part.shards].insert(part.shard);
  return std::any_of(shards_that_did.begin(), shards_that_did.end(), [&](const auto& of_then) {
    const std::vector<uint32_t> owners = Routing(of_then.first).OwnersOf(memory, partitions);
    return std::includes(of_then.second.begin(), of_then.second.end(), owners.begin(), owners.end());
  });
}

absl::StatusOr<WriteResult> ReplayEarlier(const RememberedRequest& known) {
  WriteResult result;
  result.sequence = known.sequence;
  result.replayed = true;
  EarlierOutcome earlier;
  for (const RequestPart& part : known.earlier) {
    ASSIGN_OR_RETURN(const RememberedOutcome outcome, DecodeOutcome(part.result));
    earlier.count += outcome.count;
    earlier.other += outcome.other;
    for (uint64_t i = 0; outcome.gave_ids && i < outcome.count; ++i) {
      result.given_ids.push_back(ServerId(outcome.first_row + i, part.shard));
    }
  }
  result.earlier = std::make_shared<const EarlierOutcome>(std::move(earlier));
  if (known.result.empty()) return result;
  ASSIGN_OR_RETURN(const RememberedOutcome since, DecodeOutcome(known.result));
  result.count = since.count;
  result.other = since.other;
  return result;
}

RestOfStates RestOf(const RequestParts& parts, const MemoryRecord& memory, const StateRequest& request) {
  const auto covered = [&](std::string_view session) {
    return Covers(parts, [&](const Routing& routing) { return routing.OwnerOfSession(memory, session); });
  };
  RestOfStates rest;
  if (const auto* apply = std::get_if<ApplyStates>(&request)) {
    ApplyStates left{.commands = {}, .session_expiry_ms = apply->session_expiry_ms};
    for (size_t i = 0; i < apply->commands.size(); ++i) {
      const bool done = covered(apply->commands[i].session);
      (done ? rest.covered : left).commands.push_back(apply->commands[i]);
      (done ? rest.covered_positions : rest.rest_positions).push_back(i);
    }
    if (!left.commands.empty()) rest.request = std::move(left);
  } else if (const auto* reset = std::get_if<ResetSessions>(&request)) {
    ResetSessions left = *reset;
    std::erase_if(left.sessions, covered);
    if (!left.sessions.empty()) rest.request = std::move(left);
  } else if (const auto* fork = std::get_if<ForkSession>(&request)) {
    if (!covered(fork->from)) rest.request = *fork;
  } else if (const auto* put = std::get_if<PutSession>(&request)) {
    if (!covered(put->session)) rest.request = *put;
  }
  return rest;
}

absl::StatusOr<std::shared_ptr<const EarlierOutcome>> EarlierStates(const RequestParts& parts) {
  auto earlier = std::make_shared<EarlierOutcome>();
  for (const RequestPart& part : parts) {
    ASSIGN_OR_RETURN(RememberedStates remembered, DecodeStateOutcome(part.result));
    earlier->count += remembered.outcome.count;
    earlier->states.push_back({part.shards, part.shard, std::move(remembered)});
  }
  return std::shared_ptr<const EarlierOutcome>(std::move(earlier));
}

absl::Status TakeEarlierAnswers(const EarlierOutcome& earlier, const std::vector<uint64_t>& hashes,
                                std::vector<StateAnswer>& answers) {
  std::vector<bool> taken(hashes.size());
  for (const EarlierOutcome::States& part : earlier.states) {
    const std::vector<StateAnswer>& given = part.remembered.outcome.answers;
    // Its shard was asked those of its commands that no part of before covers.
    size_t rank = 0;
    for (size_t i = 0; i < hashes.size(); ++i) {
      if (taken[i] || hashes[i] % part.shards != part.shard) continue;
      if (rank == given.size()) return WrongNumberOfAnswers();
      taken[i] = true;
      const StateAnswer& remembered = given[rank++];
      // What was too large to be remembered was read anew, unless it had failed.
      const bool read_anew = answers[i].reread && !part.remembered.whole && remembered.status.ok();
      if (!read_anew) answers[i] = remembered;
    }
    if (rank != given.size()) return WrongNumberOfAnswers();
  }
  return absl::OkStatus();
}

}  // namespace mneme
