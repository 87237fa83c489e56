// AccessRules: what each RPC needs of its caller. An RPC that is not here may be called by nobody.
#ifndef MNEME_SECURITY_ACCESS_RULES_H_
#define MNEME_SECURITY_ACCESS_RULES_H_

#include <cstdint>
#include <string_view>

#include "absl/types/span.h"

namespace mneme {

enum class Need : uint8_t {
  kKnown,  // to be known; what is listed is only what the caller may read
  kRead,   // this right at least on everything that the request names
  kWrite,
  kAdmin,
  kPeer,  // to be a process of this deployment
};

struct RpcRule {
  std::string_view service;  // "mneme.v1.MemoryService"
  std::string_view method;   // "Query"
  Need need = Need::kPeer;
};

// Of every RPC of every service of ours.
absl::Span<const RpcRule> AccessRules();
// Null when there is none.
const RpcRule* FindRule(std::string_view service, std::string_view method);

}  // namespace mneme

#endif  // MNEME_SECURITY_ACCESS_RULES_H_
