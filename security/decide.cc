#include "security/decide.h"

#include <algorithm>

namespace mneme {
namespace {

bool Holds(const Grant& grant, uint64_t partition) {
  return grant.partitions.empty() ||
         std::any_of(grant.partitions.begin(), grant.partitions.end(), [partition](const PartitionRange& range) {
           return range.first <= partition && partition <= range.last;
         });
}

// Whether any grant of at least this right on this memory satisfies `condition`.
template <typename Condition>
bool AnyGrant(const Principal& principal, std::string_view memory, Right right, Condition condition) {
  return std::any_of(principal.grants.begin(), principal.grants.end(), [&](const Grant& grant) {
    return grant.right >= right && MatchesPattern(grant.memories, memory) && condition(grant);
  });
}

bool Covers(const Principal& principal, const AccessTarget& target, Right right) {
  switch (target.scope) {
    case AccessTarget::Scope::kDescription:
      return AnyGrant(principal, target.memory, right, [](const Grant&) { return true; });
    case AccessTarget::Scope::kWhole:
      return AnyGrant(principal, target.memory, right, [](const Grant& grant) { return grant.partitions.empty(); });
    case AccessTarget::Scope::kPartitions:
      // Several grants may share them.
      return !target.partitions.empty() &&
             std::all_of(target.partitions.begin(), target.partitions.end(), [&](uint64_t partition) {
               return AnyGrant(principal, target.memory, right,
                               [partition](const Grant& grant) { return Holds(grant, partition); });
             });
  }
  return false;
}

Right RightFor(Need need) {
  switch (need) {
    case Need::kAdmin: return Right::kAdmin;
    case Need::kWrite: return Right::kWrite;
    case Need::kRead:
    case Need::kKnown:
    case Need::kPeer: break;
  }
  return Right::kRead;
}

}  // namespace

Decision Decide(const Principal& principal, const RpcRule* rule, absl::Span<const AccessTarget> targets) {
  Decision decision;
  if (rule == nullptr) return decision;
  if (rule->need == Need::kPeer || rule->need == Need::kKnown) {
    decision.allowed = rule->need == Need::kKnown || principal.peer;
    return decision;
  }
  for (; decision.target < targets.size(); ++decision.target) {
    const AccessTarget& target = targets[decision.target];
    decision.right = std::max(RightFor(rule->need), target.right);
    if (!Covers(principal, target, decision.right)) return decision;
  }
  decision.allowed = !targets.empty();
  return decision;
}

bool MayList(const Principal& principal, std::string_view name) {
  return Covers(principal, {.memory = name, .scope = AccessTarget::Scope::kDescription}, Right::kRead);
}

bool MayWriteWhole(const Principal& principal, std::string_view name) {
  return Covers(principal, {.memory = name, .scope = AccessTarget::Scope::kWhole}, Right::kWrite);
}

bool MayAdminister(const Principal& principal, std::string_view name) {
  return Covers(principal, {.memory = name, .scope = AccessTarget::Scope::kWhole}, Right::kAdmin);
}

bool MayReadMetrics(const Principal& principal) { return principal.metrics || MayAdminister(principal, ""); }

}  // namespace mneme
