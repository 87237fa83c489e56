// How what a front end asks of a shard, and what that answers, are laid flat (flat_codec.h). Between processes alone:
// a change of what stands here is a new kInternalProtocol.
#ifndef MNEME_ENGINE_FLAT_COMMANDS_H_
#define MNEME_ENGINE_FLAT_COMMANDS_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "engine/candidates.h"
#include "engine/commands.h"
#include "engine/flat_codec.h"
#include "engine/flat_columns.h"
#include "engine/flat_states.h"
#include "engine/match_rows.h"
#include "engine/prune_command.h"
#include "engine/receipts.h"
#include "engine/slot_table.h"
#include "engine/write_operations.h"

namespace mneme {

// The protocol of mneme.internal.v1 and of these bodies.
inline constexpr uint32_t kInternalProtocol = 5;

// In a string that has room for so many bytes before it grows.
template <typename... Ts>
std::string FlatIn(size_t room, const Ts&... values) {
  std::string out;
  out.reserve(room);
  FlatWriter writer(out);
  writer(values...);
  return out;
}

template <typename... Ts>
std::string Flat(const Ts&... values) {
  return FlatIn(0, values...);
}

// DATA_LOSS unless `bytes` are what Flat() of these types made.
template <typename... Ts>
absl::Status Unflat(std::string_view bytes, Ts&... values) {
  FlatReader reader(bytes);
  reader(values...);
  return reader.AtEnd() ? absl::OkStatus() : absl::DataLossError("a message between processes is damaged");
}

// Without what the front end does itself: extra candidates, successors, the bound of bytes that all shards share. What
// is to be made of the neighbours is beside it: a text, empty where they are wanted.
template <typename Codec, OneOf<QueryCommand> T>
void Describe(Codec& codec, T& query) {
  codec(query.partitions, query.queries, query.count, query.k, query.exact, query.recall_target, query.probes,
        query.approximate_distances, query.filter, query.exclude_ids, query.exclude_sources, query.with_keys,
        query.with_attributes, query.with_ids, query.single_scores, query.at_least);
}

template <typename Codec, OneOf<QueryOutcome> T>
void Describe(Codec& codec, T& outcome) {
  codec(outcome.neighbours, outcome.statistics, outcome.version, outcome.queue_us, outcome.search_us);
}

// Beside an outcome, which has no neighbours then; absent where they were wanted.
template <typename Codec, OneOf<FinishedReadOut> T>
void Describe(Codec& codec, T& read_out) {
  codec(read_out.answer, read_out.benefit_tokens, read_out.benefit_nats, read_out.took_us);
}

template <typename Codec, OneOf<WantedEntry> T>
void Describe(Codec& codec, T& wanted) {
  codec(wanted.query, wanted.partition, wanted.id, wanted.source);
}

template <typename Codec, OneOf<VisitCommand> T>
void Describe(Codec& codec, T& visit) {
  codec(visit.partitions, visit.filter, visit.at_least, visit.with_keys);
}

template <typename Codec, OneOf<MatchRows> T>
void Describe(Codec& codec, T& rows) {
  codec(rows.ids, rows.partitions, rows.values, rows.width, rows.read);
}

template <typename Codec, OneOf<ScanPosition> T>
void Describe(Codec& codec, T& position) {
  codec(position.memory, position.shard, position.partition, position.row);
}

template <typename Codec, OneOf<ScanCommand> T>
void Describe(Codec& codec, T& scan) {
  codec(scan.partitions, scan.filter, scan.with_keys, scan.page_size, scan.page_bytes, scan.from, scan.at_least);
}

template <typename Codec, OneOf<ScanPage> T>
void Describe(Codec& codec, T& page) {
  codec(page.entries, page.partitions, page.next);
}

template <typename Codec, OneOf<DeleteCommand> T>
void Describe(Codec& codec, T& erase) {
  codec(erase.partitions, erase.ids, erase.filter, erase.everything);
}

template <typename Codec, OneOf<SlotAnswers> T>
void Describe(Codec& codec, T& slots) {
  codec(slots.found, slots.slots, slots.values, slots.similarities, slots.correct, slots.actions, slots.written_slots,
        slots.evicted, slots.evicted_values, slots.evicted_ages, slots.pos, slots.neg, slots.losses,
        slots.mask_offsets, slots.mask_slots, slots.mask_weights);
}

template <typename Codec, OneOf<WriteResult> T>
void Describe(Codec& codec, T& result) {
  codec(result.count, result.other, result.given_ids, result.sequence, result.replayed, result.states, result.slots);
}

template <typename Codec, OneOf<MemoryStatistics> T>
void Describe(Codec& codec, T& statistics) {
  codec(statistics.entries, statistics.dead_rows, statistics.partitions, statistics.tail_rows, statistics.segments,
        statistics.codebooks, statistics.index_bytes, statistics.tail_ram_bytes, statistics.evicted,
        statistics.expired, statistics.unsealed_partitions, statistics.drift, statistics.benefit_tokens,
        statistics.benefit_nats);
}

template <typename Codec, OneOf<DeploymentStatistics> T>
void Describe(Codec& codec, T& statistics) {
  codec(statistics.memories, statistics.memory_count, statistics.store_bytes, statistics.queued_searches,
        statistics.queued_write_bytes, statistics.expired_sessions, statistics.expired_states,
        statistics.answers_asked, statistics.answers_known, statistics.answers_bytes, statistics.leases,
        statistics.leased_ram_bytes, statistics.label_sum_bytes, statistics.match_cache_bytes,
        statistics.maintenance_busy, statistics.write_status);
}

template <typename Codec, OneOf<ReceiptStatus> T>
void Describe(Codec& codec, T& receipt) {
  codec.Enum(receipt.state, ErasureState::kHidden, ErasureState::kSnapshots);
  codec(receipt.deleted, receipt.deleted_at_ms, receipt.indexed_at_ms, receipt.erased_at_ms, receipt.partitions);
}

template <typename Codec, OneOf<ReceiptPage::Item> T>
void Describe(Codec& codec, T& item) {
  codec(item.receipt, item.status);
}

template <typename Codec, OneOf<ReceiptPage> T>
void Describe(Codec& codec, T& page) {
  codec(page.items, page.next);
}

template <typename Codec, OneOf<PruneGuard> T>
void Describe(Codec& codec, T& guard) {
  codec(guard.queries, guard.count, guard.targets, guard.lm_log_probs, guard.k, guard.temperature, guard.knn_weight,
        guard.max_perplexity_rise);
}

template <typename Codec, OneOf<PruneCommand> T>
void Describe(Codec& codec, T& prune) {
  codec(prune.partition, prune.neighbours, prune.exact, prune.recall_target, prune.probes, prune.guard, prune.dry_run,
        prune.stamp_ms);
}

template <typename Codec, OneOf<PruneOutcome> T>
void Describe(Codec& codec, T& outcome) {
  codec(outcome.entries, outcome.merged, outcome.overtaken, outcome.perplexity_before, outcome.perplexity_after);
}

}  // namespace mneme

#endif  // MNEME_ENGINE_FLAT_COMMANDS_H_
