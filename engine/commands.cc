#include "engine/commands.h"

#include <algorithm>

namespace mneme {

absl::Status CallLimits::Check() const {
  if (cancelled != nullptr && cancelled->load(std::memory_order_relaxed)) {
    return absl::CancelledError("the caller has gone");
  }
  if (std::chrono::steady_clock::now() >= deadline) {
    return absl::DeadlineExceededError("the deadline passed while the call was being served");
  }
  return absl::OkStatus();
}

void MemoryStatistics::Add(const MemoryStatistics& other) {
  entries += other.entries;
  dead_rows += other.dead_rows;
  partitions += other.partitions;
  tail_rows += other.tail_rows;
  segments += other.segments;
  codebooks += other.codebooks;
  index_bytes += other.index_bytes;
  tail_ram_bytes += other.tail_ram_bytes;
  evicted += other.evicted;
  expired += other.expired;
  unsealed_partitions += other.unsealed_partitions;
  drift = std::max(drift, other.drift);
  benefit_tokens += other.benefit_tokens;
  benefit_nats += other.benefit_nats;
}

void MemoryStatistics::Subtract(const MemoryStatistics& other) {
  entries -= other.entries;
  dead_rows -= other.dead_rows;
  partitions -= other.partitions;
  tail_rows -= other.tail_rows;
  segments -= other.segments;
  codebooks -= other.codebooks;
  index_bytes -= other.index_bytes;
  tail_ram_bytes -= other.tail_ram_bytes;
  evicted -= other.evicted;
  expired -= other.expired;
  unsealed_partitions -= other.unsealed_partitions;
  benefit_tokens -= other.benefit_tokens;
  benefit_nats -= other.benefit_nats;
}

}  // namespace mneme
