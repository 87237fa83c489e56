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

CallLimits CallLimits::Within(std::chrono::steady_clock::duration time) const {
  CallLimits within = *this;
  within.deadline = std::min(deadline, std::chrono::steady_clock::now() + time);
  return within;
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

void DeploymentStatistics::Add(const DeploymentStatistics& other) {
  memories.Add(other.memories);
  store_bytes += other.store_bytes;
  queued_searches += other.queued_searches;
  queued_write_bytes += other.queued_write_bytes;
  expired_sessions += other.expired_sessions;
  expired_states += other.expired_states;
  answers_asked += other.answers_asked;
  answers_known += other.answers_known;
  answers_bytes += other.answers_bytes;
  leases += other.leases;
  leased_ram_bytes += other.leased_ram_bytes;
  label_sum_bytes += other.label_sum_bytes;
  match_cache_bytes += other.match_cache_bytes;
  maintenance_busy = maintenance_busy || other.maintenance_busy;
  memory_count = std::max(memory_count, other.memory_count);  // each process knows all of them
  if (write_status.ok()) write_status = other.write_status;
}

}  // namespace mneme
