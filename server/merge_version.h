// Versions of several writes as one.
#ifndef MNEME_SERVER_MERGE_VERSION_H_
#define MNEME_SERVER_MERGE_VERSION_H_

#include <algorithm>

#include "engine/commands.h"

namespace mneme {

// `into` becomes what a read must present to see both. A version of another memory replaces it.
inline void MergeVersion(const Version& from, Version& into) {
  if (into.memory != from.memory) {
    into = from;
    return;
  }
  for (const Version::Part& part : from.parts) {
    const auto at = std::lower_bound(into.parts.begin(), into.parts.end(), part.shard,
                                     [](const Version::Part& a, uint32_t shard) { return a.shard < shard; });
    if (at != into.parts.end() && at->shard == part.shard) {
      at->sequence = std::max(at->sequence, part.sequence);
    } else {
      into.parts.insert(at, part);
    }
  }
}

}  // namespace mneme

#endif  // MNEME_SERVER_MERGE_VERSION_H_
