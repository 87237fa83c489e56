// How far work is that takes minutes, between processes; see flat_commands.h.
#ifndef MNEME_ENGINE_FLAT_PROGRESS_H_
#define MNEME_ENGINE_FLAT_PROGRESS_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/flat_commands.h"

namespace mneme {

struct FlatProgress {
  std::string stage;
  uint64_t done = 0;
  uint64_t total = 0;
};

template <typename Codec, OneOf<FlatProgress> T>
void Describe(Codec& codec, T& progress) {
  codec(progress.stage, progress.done, progress.total);
}

// Its stage as text that lasts: one of those of BuildProgress and PruneProgress.
inline const char* StageOf(const FlatProgress& progress) {
  for (const char* stage : {"reading", "training", "writing", "searching", "guarding", "done"}) {
    if (progress.stage == stage) return stage;
  }
  return "working";
}

}  // namespace mneme

#endif  // MNEME_ENGINE_FLAT_PROGRESS_H_
