// Grant: what somebody may do with memories of some names, as a token file writes it: "read:wiki-*",
// "write:chat/7,10-19".
#ifndef MNEME_SECURITY_GRANT_H_
#define MNEME_SECURITY_GRANT_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace mneme {

// Each includes those before it.
enum class Right : uint8_t { kRead = 1, kWrite = 2, kAdmin = 3 };
// "read", "write", "admin".
const char* RightName(Right right);

// Both ends included.
struct PartitionRange {
  uint64_t first = 0;
  uint64_t last = 0;
};

struct Grant {
  Right right = Right::kRead;
  std::string memories;                    // a pattern of names
  std::vector<PartitionRange> partitions;  // empty: the memory whole, its sessions included
};

// What somebody may ask for, in a second and at one front end; 0: as much as he likes.
struct Quota {
  double requests = 0;
  double entries = 0;   // that are written
  double bytes = 0;     // of requests
  double answered = 0;  // bytes of answers
  bool operator==(const Quota&) const = default;
};

// Where he who writes adds no more; 0: nowhere. Each memory that he writes to holds at most so much, whoever wrote it,
// or each partition, where his grants name partitions of the memory and not all of it.
struct StoredBounds {
  uint64_t entries = 0;
  uint64_t bytes = 0;
  uint64_t memories = 0;  // of the names that he may create
  bool operator==(const StoredBounds&) const = default;
};

// Somebody who is known. Several tokens may have one name, whose quota and bounds they share.
struct Principal {
  std::string name;
  bool peer = false;     // a process of this deployment
  bool metrics = false;  // reads the pages of the admin address
  std::vector<Grant> grants = {};
  Quota quota = {};
  StoredBounds stored = {};
};

// True when `pattern`, in which * stands for any characters, none included, is `name` whole.
bool MatchesPattern(std::string_view pattern, std::string_view name);

// RIGHT:PATTERN or RIGHT:PATTERN/PARTITIONS; INVALID_ARGUMENT says what is wrong.
absl::StatusOr<Grant> ParseGrant(std::string_view text);

}  // namespace mneme

#endif  // MNEME_SECURITY_GRANT_H_
