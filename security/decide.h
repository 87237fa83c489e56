// Decide: the one place where it is decided what somebody may do. Pure: it knows neither whether a memory exists nor
// what an alias points to, so that its answer tells nothing of either. A grant holds for the name that a request says,
// be it a memory's or an alias'.
#ifndef MNEME_SECURITY_DECIDE_H_
#define MNEME_SECURITY_DECIDE_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/types/span.h"
#include "security/access_rules.h"
#include "security/grant.h"

namespace mneme {

// What a request wants to touch of one memory.
struct AccessTarget {
  enum class Scope : uint8_t {
    kPartitions,   // these
    kWhole,        // all of its partitions, or its sessions
    kDescription,  // what it is: any grant on it will do
  };

  std::string_view memory;  // as the request names it; empty: all memories
  Scope scope = Scope::kWhole;
  std::vector<uint64_t> partitions = {};
  Right right = Right::kRead;  // where it needs more than the rule of its RPC says
};

struct Decision {
  bool allowed = false;
  Right right = Right::kRead;  // that was needed
  size_t target = 0;           // the first that was refused; there may be none at all
};

// An RPC without a rule (null), and one that needs a right but names nothing, is refused.
Decision Decide(const Principal& principal, const RpcRule* rule, absl::Span<const AccessTarget> targets);

// Whether what is listed may name a memory, or an alias: any grant on the name will do.
bool MayList(const Principal& principal, std::string_view name);

// Whether he may write to all of a memory of this name, rather than to partitions of it at most.
bool MayWriteWhole(const Principal& principal, std::string_view name);

// Whether he may make, and drop, a memory of this name.
bool MayAdminister(const Principal& principal, std::string_view name);

// Whether he may read what a process tells of itself: its metrics and its options.
bool MayReadMetrics(const Principal& principal);

}  // namespace mneme

#endif  // MNEME_SECURITY_DECIDE_H_
