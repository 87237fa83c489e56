// How the columns, selections and descriptions that commands share are laid flat (flat_codec.h). Part of the records of
// a shard's log (docs/formats.md): a change of what stands here is a new version of them.
#ifndef MNEME_ENGINE_FLAT_COLUMNS_H_
#define MNEME_ENGINE_FLAT_COLUMNS_H_

#include <cstddef>

#include "common/checksum.h"
#include "common/columns.h"
#include "common/types.h"
#include "engine/commands.h"
#include "engine/flat_codec.h"
#include "engine/write_operations.h"
#include "index/row_filter.h"
#include "storage/catalogue_store.h"

namespace mneme {

template <typename Codec, OneOf<Hash128> T>
void Describe(Codec& codec, T& hash) {
  codec(hash.low, hash.high);
}

template <typename Codec, OneOf<RequestIdentity> T>
void Describe(Codec& codec, T& request) {
  codec(request.id, request.content);
}

template <typename Codec, OneOf<ValueColumn> T>
void Describe(Codec& codec, T& values) {
  codec(values.width, values.bytes, values.offsets);
}

template <typename Codec, OneOf<EntryColumns> T>
void Describe(Codec& codec, T& entries) {
  codec(entries.count, entries.key_bytes, entries.keys, entries.values, entries.ids, entries.weights, entries.scores,
        entries.labels, entries.sources, entries.positions, entries.expiries_ms, entries.created_ms);
}

template <typename Codec, OneOf<NeighbourColumns> T>
void Describe(Codec& codec, T& neighbours) {
  codec(neighbours.offsets);
  codec.Reals(neighbours.scores);
  const size_t count = neighbours.size();
  codec.Near(count, neighbours.ids, neighbours.partitions);
  codec(neighbours.values);
  codec.Near(count, neighbours.weights, neighbours.labels, neighbours.sources, neighbours.positions);
  codec(neighbours.keys, neighbours.key_bytes);
}

template <typename Codec, OneOf<SearchStatistics> T>
void Describe(Codec& codec, T& statistics) {
  codec(statistics.rows_total, statistics.rows_scanned, statistics.lists_probed, statistics.rows_reranked,
        statistics.segments, statistics.tail_rows, statistics.exact);
}

template <typename Codec, OneOf<RowFilter> T>
void Describe(Codec& codec, T& filter) {
  codec(filter.ids, filter.labels, filter.sources, filter.created_from_ms, filter.created_to_ms, filter.stamp_ms);
}

template <typename Codec, OneOf<PartitionSelection> T>
void Describe(Codec& codec, T& selection) {
  codec(selection.partitions, selection.all);
}

template <typename Codec, OneOf<Version::Part> T>
void Describe(Codec& codec, T& part) {
  codec(part.shard, part.sequence);
}

template <typename Codec, OneOf<Version> T>
void Describe(Codec& codec, T& version) {
  codec(version.memory, version.parts);
}

template <typename Codec, OneOf<Fingerprint> T>
void Describe(Codec& codec, T& fingerprint) {
  codec(fingerprint.model, fingerprint.revision, fingerprint.layer, fingerprint.tokenizer_hash,
        fingerprint.vocabulary_size, fingerprint.normalization);
}

template <typename Codec, OneOf<IndexChoice> T>
void Describe(Codec& codec, T& index) {
  codec.Enum(index.codec.kind, CodecKind::kAuto, CodecKind::kOpq);
  codec(index.codec.columns, index.codec.bits, index.lists);
}

template <typename Codec, OneOf<MemorySpec> T>
void Describe(Codec& codec, T& spec) {
  codec(spec.name, spec.dimension);
  codec.Enum(spec.metric, Metric::kL2, Metric::kCosine);
  codec.Enum(spec.key_dtype, Dtype::kF32, Dtype::kF16);
  codec.Enum(spec.value_kind, ValueKind::kToken, ValueKind::kBytes);
  codec(spec.vocabulary_size, spec.value_dimension);
  codec.Enum(spec.spread, Spread::kAll, Spread::kOne);
  codec(spec.index, spec.capacity, spec.fingerprint);
}

template <typename Codec, OneOf<MemoryRecord> T>
void Describe(Codec& codec, T& record) {
  codec(record.number, record.spec, record.created_ms, record.dropped);
}

template <typename Codec, OneOf<AliasRecord> T>
void Describe(Codec& codec, T& alias) {
  codec(alias.number, alias.name, alias.memory);
}

// DATA_LOSS unless every column has its entries, none reaches beyond its bytes, and keys have `key_bytes` each or are
// absent; attributes of neighbours that were left out (DropAttributes) are absent together, as are ids and partitions.
// The widths themselves may be any: who knows the memory compares them.
absl::Status CheckWhole(const EntryColumns& entries);
absl::Status CheckWhole(const NeighbourColumns& neighbours);

// About the bytes that these take flat, without attributes.
size_t RoomFor(const NeighbourColumns& neighbours);

}  // namespace mneme

#endif  // MNEME_ENGINE_FLAT_COLUMNS_H_
