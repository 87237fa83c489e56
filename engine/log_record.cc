#include "engine/log_record.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "common/random_number.h"
#include "common/status_macros.h"
#include "engine/flat_codec.h"
#include "engine/flat_columns.h"
#include "engine/flat_states.h"
#include "engine/routing.h"

namespace mneme {
namespace {

constexpr uint8_t kLogRecordVersion = 2;
// Sets this checksum apart from any other.
constexpr uint64_t kLogRecordSeed = 0x6C6F677265636F72ULL;
constexpr size_t kChecksumBytes = sizeof(uint64_t);

absl::Status Damaged() { return absl::DataLossError("a log record is damaged"); }

}  // namespace

template <typename Codec, OneOf<InsertOperation> T>
void Describe(Codec& codec, T& insert) {
  codec(insert.ticket.request, insert.partition, insert.bulk, insert.entries);
}

template <typename Codec, OneOf<DeleteOperation> T>
void Describe(Codec& codec, T& erase) {
  codec(erase.ticket.request, erase.partitions, erase.all_partitions, erase.ids, erase.filter, erase.everything);
}

template <typename Codec, OneOf<ObserveOptions> T>
void Describe(Codec& codec, T& options) {
  codec(options.choose_k, options.alpha, options.age_noise, options.seed, options.learn, options.want_mask);
}

template <typename Codec, OneOf<RememberOperation> T>
void Describe(Codec& codec, T& remember) {
  codec(remember.ticket.request, remember.partition, remember.batch.queries, remember.batch.count,
        remember.batch.labels, remember.batch.options);
}

template <typename Codec, OneOf<StateOperation> T>
void Describe(Codec& codec, T& states) {
  codec(states.ticket.request, states.request);
}

template <typename Codec, OneOf<CreateMemoryCommand> T>
void Describe(Codec& codec, T& create) {
  codec(create.spec, create.request);
}

template <typename Codec, OneOf<DropMemoryCommand> T>
void Describe(Codec& codec, T& drop) {
  codec(drop.name, drop.request);
}

template <typename Codec, OneOf<SetAliasCommand> T>
void Describe(Codec& codec, T& set) {
  codec(set.change.name, set.change.memory, set.change.expected, set.request);
}

template <typename Codec, OneOf<DropAliasCommand> T>
void Describe(Codec& codec, T& drop) {
  codec(drop.name, drop.request);
}

template <typename Codec, OneOf<SetReplicasCommand> T>
void Describe(Codec& codec, T& set) {
  codec(set.shard, set.expected, set.replicas, set.request, set.fixed);
}

template <typename Codec, OneOf<FoundCommand> T>
void Describe(Codec& codec, T& found) {
  codec(found.shards);
}

template <typename Codec, OneOf<StoredRow> T>
void Describe(Codec& codec, T& stored) {
  codec(stored.row, stored.id);
}

template <typename Codec, OneOf<StateExpiry> T>
void Describe(Codec& codec, T& due) {
  codec(due.expiry_ms, due.memory, due.space, due.session, due.name);
}

template <typename Codec, OneOf<ExpireRowsCommand> T>
void Describe(Codec& codec, T& expire) {
  codec(expire.partition, expire.rows);
}

template <typename Codec, OneOf<ExpireStatesCommand> T>
void Describe(Codec& codec, T& expire) {
  codec(expire.due);
}

template <typename Codec, OneOf<MergeRowsCommand> T>
void Describe(Codec& codec, T& merge) {
  codec(merge.partition, merge.merges.survivors, merge.merges.taken, merge.merges.merged);
}

template <typename Codec, OneOf<ReadMarker> T>
void Describe(Codec&, T&) {}

namespace {

template <typename Operation>
std::string Encode(const LogRecordHead& head, const Operation& operation) {
  std::string out;
  FlatWriter writer(out);
  writer(kLogRecordVersion, static_cast<uint8_t>(head.operation + 1), head.deployment, head.memory, head.stamp_ms,
         operation);
  writer(Checksum64(out, kLogRecordSeed));
  return out;
}

template <typename Operation>
std::string EncodeTicketed(uint64_t deployment, const Operation& operation) {
  const size_t index = LoggedOperation(std::in_place_type<Operation>).index();
  const WriteTicket& ticket = operation.ticket;
  return Encode({deployment, ticket.memory->number, ticket.stamp_ms, index}, operation);
}

template <size_t kIndex = 0>
void ReadOperation(size_t index, FlatReader& reader, LoggedOperation& operation) {
  if constexpr (kIndex < std::variant_size_v<LoggedOperation>) {
    if (index != kIndex) return ReadOperation<kIndex + 1>(index, reader, operation);
    reader(operation.emplace<kIndex>());
  }
}

// A record that is whole and of a kind that is known.
struct OpenedRecord {
  LogRecordHead head;
  uint8_t kind = 0;
  FlatReader operation;  // at its beginning
};

absl::StatusOr<OpenedRecord> OpenLogRecord(std::string_view bytes) {
  if (bytes.size() <= kChecksumBytes) return Damaged();
  const std::string_view body = bytes.substr(0, bytes.size() - kChecksumBytes);
  uint64_t checksum = 0;
  std::memcpy(&checksum, bytes.data() + body.size(), kChecksumBytes);
  if (checksum != Checksum64(body, kLogRecordSeed)) return Damaged();
  uint8_t version = 0;
  OpenedRecord opened{{}, 0, FlatReader(body)};
  opened.operation(version, opened.kind);
  if (version != kLogRecordVersion || opened.kind == 0 || opened.kind > std::variant_size_v<LoggedOperation>) {
    return absl::UnimplementedError(absl::StrCat("a log record has version ", static_cast<int>(version), " and kind ",
                                                 static_cast<int>(opened.kind), "; this program knows version ",
                                                 static_cast<int>(kLogRecordVersion), " and kinds up to ",
                                                 std::variant_size_v<LoggedOperation>));
  }
  opened.operation(opened.head.deployment, opened.head.memory, opened.head.stamp_ms);
  opened.head.operation = opened.kind - size_t{1};
  return opened;
}

// As RowMerges says.
bool IsWhole(const RowMerges& merges) {
  uint64_t merged = 0;
  for (const uint32_t taken : merges.taken) {
    if (taken == 0) return false;
    merged += taken;
  }
  if (merges.taken.size() != merges.survivors.size() || merged != merges.merged.size()) return false;
  std::vector<Row> rows;
  for (const StoredRow& survivor : merges.survivors) {
    if (IsServerId(survivor.id) != IsServerId(merges.survivors.front().id)) return false;
    rows.push_back(survivor.row);
  }
  for (const StoredRow& gone : merges.merged) rows.push_back(gone.row);
  std::sort(rows.begin(), rows.end());
  return std::adjacent_find(rows.begin(), rows.end()) == rows.end();
}

// That the columns of what was read fit each other: who wrote it may be wrong with a checksum that is right.
absl::Status CheckOperation(const LoggedOperation& operation) {
  if (const auto* insert = std::get_if<InsertOperation>(&operation)) return CheckWhole(insert->entries);
  if (const auto* remember = std::get_if<RememberOperation>(&operation)) {
    const SlotBatch& batch = remember->batch;
    const bool labelled = batch.labels.empty() || batch.labels.size() == batch.count;
    if (!labelled || batch.count == 0 || batch.queries.size() % batch.count != 0) return Damaged();
  }
  if (const auto* expire = std::get_if<ExpireRowsCommand>(&operation)) {
    const auto does_not_ascend = [](const StoredRow& a, const StoredRow& b) { return a.row >= b.row; };
    const auto& rows = expire->rows;
    if (std::adjacent_find(rows.begin(), rows.end(), does_not_ascend) != rows.end()) return Damaged();
  }
  if (const auto* merge = std::get_if<MergeRowsCommand>(&operation)) {
    if (!IsWhole(merge->merges)) return Damaged();
  }
  if (const auto* states = std::get_if<StateOperation>(&operation)) {
    const auto* put = std::get_if<PutSession>(&states->request);
    if (put == nullptr) return absl::OkStatus();
    for (const auto& [name, state] : put->states) {
      if (state == nullptr) return Damaged();
    }
  }
  return absl::OkStatus();
}

}  // namespace

const Hash128* RequestOfChange(const LoggedOperation& operation) {
  return std::visit(
      [](const auto& each) -> const Hash128* {
        if constexpr (requires { each.request.low; }) return &each.request;
        return nullptr;
      },
      operation);
}

Hash128 NewChangeRequest() {
  const uint64_t low = RandomNumber();
  return {low, RandomNumber()};
}

absl::StatusOr<std::string> EncodeLogRecord(uint64_t deployment, const WriteOperation& operation) {
  if (const auto* insert = std::get_if<InsertOperation>(&operation)) return EncodeTicketed(deployment, *insert);
  if (const auto* erase = std::get_if<DeleteOperation>(&operation)) return EncodeTicketed(deployment, *erase);
  if (const auto* remember = std::get_if<RememberOperation>(&operation)) return EncodeTicketed(deployment, *remember);
  if (const auto* states = std::get_if<StateOperation>(&operation)) return EncodeTicketed(deployment, *states);
  return absl::InvalidArgumentError(
      absl::StrCat("operation ", operation.index(), " is a shard's own; no log of clients' writes has it"));
}

std::string EncodeLogRecord(const LogRecord& record) {
  return std::visit(
      [&](const auto& operation) {
        return Encode({record.deployment, record.memory, record.stamp_ms, record.operation.index()}, operation);
      },
      record.operation);
}

absl::StatusOr<LogRecord> DecodeLogRecord(std::string_view bytes) {
  ASSIGN_OR_RETURN(OpenedRecord opened, OpenLogRecord(bytes));
  LogRecord record;
  record.memory = opened.head.memory;
  record.stamp_ms = opened.head.stamp_ms;
  record.deployment = opened.head.deployment;
  ReadOperation(opened.head.operation, opened.operation, record.operation);
  if (!opened.operation.AtEnd()) return Damaged();
  RETURN_IF_ERROR(CheckOperation(record.operation));
  return record;
}

absl::StatusOr<LogRecordHead> DecodeLogRecordHead(std::string_view bytes) {
  ASSIGN_OR_RETURN(const OpenedRecord opened, OpenLogRecord(bytes));
  if (!opened.operation.ok()) return Damaged();
  return opened.head;
}

}  // namespace mneme
