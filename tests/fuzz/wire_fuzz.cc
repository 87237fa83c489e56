// What the processes of one deployment say to each other beside log records: bodies of mneme.internal.v1.
#include <cmath>
#include <memory>
#include <optional>
#include <utility>

#include "engine/catalogue_names.h"
#include "engine/flat_backups.h"
#include "engine/flat_catalogue.h"
#include "engine/flat_checkpoints.h"
#include "engine/flat_commands.h"
#include "engine/flat_export.h"
#include "engine/flat_progress.h"
#include "tests/fuzz/fuzz.h"

namespace mneme::fuzz {
namespace {

enum Kind : uint8_t {
  kQuery,
  kFound,
  kWanted,
  kVisit,
  kMatch,
  kScan,
  kPage,
  kErase,
  kWritten,
  kStatistics,
  kPrune,
  kPruned,
  kCatalogue,
  kProgress,
  kEntries,
  kSessions,
  kTakeBackup,
  kTaken,
  kOrder,
  kBackedUp,
  kBackups,
  kCheckpoint,
  kChunk,
  kDigest,
  kReplica,
  kExport,
  kHead,
  kPiece,
  kSnapshot,
  kReceipt,
  kReadOut,
  kReceipts,
  kKinds,
};

template <typename T>
bool Read(std::string_view bytes, T& value) {
  const absl::Status status = Unflat(bytes, value);
  if (!status.ok()) {
    ExpectRefusal(status, {absl::StatusCode::kDataLoss}, {"is damaged"});
    return false;
  }
  Expect(Flat(value) == bytes, "what was read is written as the same bytes");
  return true;
}

template <typename T>
bool ReadOnly(std::string_view bytes) {
  T value;
  return Read(bytes, value);
}

size_t Sum(std::string_view bytes) {
  size_t sum = 0;
  for (const char byte : bytes) sum += static_cast<uint8_t>(byte);
  return sum;
}

void LookAt(const NeighbourColumns& found) {
  if (!CheckWhole(found).ok()) return;
  Expect(RoomFor(found) >= found.values.bytes.size() + found.keys.size(), "there is room for values and keys");
  for (size_t query = 0; query < found.queries(); ++query) {
    for (size_t i = found.offsets[query]; i < found.offsets[query + 1]; ++i) {
      Expect(Sum(found.values.At(i)) <= 255 * found.values.bytes.size(), "values lie in their column");
    }
  }
}

void LookAt(const EntryColumns& entries) {
  if (!CheckWhole(entries).ok()) return;
  for (size_t i = 0; i < entries.count; ++i) {
    const EntryView entry = entries.At(i);
    Expect(Sum(entry.key) + Sum(entry.value) <= 255 * (entries.keys.size() + entries.values.bytes.size()),
           "keys and values lie in their columns");
  }
}

bool Run(std::string_view input) {
  Input in(input);
  const uint8_t kind = in.Byte() % kKinds;
  const std::string_view bytes = in.Rest();
  const AllocationBound bound(64 * 1024 + 256 * bytes.size());
  switch (kind) {
    case kQuery: return ReadOnly<QueryCommand>(bytes);
    case kFound: {
      QueryOutcome outcome;
      if (!Read(bytes, outcome)) return false;
      LookAt(outcome.neighbours);
      return true;
    }
    case kWanted: return ReadOnly<std::vector<WantedEntry>>(bytes);
    case kVisit: return ReadOnly<VisitCommand>(bytes);
    case kMatch: return ReadOnly<MatchRows>(bytes);
    case kScan: return ReadOnly<ScanCommand>(bytes);
    case kPage: {
      ScanPage page;
      if (!Read(bytes, page)) return false;
      LookAt(page.entries);
      return true;
    }
    case kErase: return ReadOnly<DeleteCommand>(bytes);
    case kWritten: return ReadOnly<WriteResult>(bytes);
    case kStatistics: return ReadOnly<DeploymentStatistics>(bytes);
    case kPrune: return ReadOnly<PruneCommand>(bytes);
    case kPruned: return ReadOnly<PruneOutcome>(bytes);
    case kCatalogue: return ReadOnly<CatalogueChanges>(bytes);
    case kProgress: {
      FlatProgress progress;
      if (!Read(bytes, progress)) return false;
      Expect(std::string_view(StageOf(progress)).size() >= 4, "a stage has a name");
      return true;
    }
    case kEntries: {
      EntryColumns entries;
      if (!Read(bytes, entries)) return false;
      LookAt(entries);
      return true;
    }
    case kSessions: return ReadOnly<std::vector<NamedSession>>(bytes);
    case kTakeBackup: return ReadOnly<TakeBackupCommand>(bytes);
    case kTaken: return ReadOnly<TakenBackup>(bytes);
    case kOrder: return ReadOnly<BackupOrder>(bytes);
    case kBackedUp: return ReadOnly<WrittenBackup>(bytes);
    case kBackups: return ReadOnly<ShardBackupState>(bytes);
    case kCheckpoint: return ReadOnly<CheckpointManifest>(bytes);
    case kChunk: return ReadOnly<CheckpointChunk>(bytes);
    case kDigest: return ReadOnly<ShardDigest>(bytes);
    case kReplica: return ReadOnly<ReplicaDescription>(bytes);
    case kExport: return ReadOnly<ExportQuestion>(bytes);
    case kHead: return ReadOnly<ExportHead>(bytes);
    case kPiece: return ReadOnly<ExportPiece>(bytes);
    case kSnapshot: return ReadOnly<CatalogueSnapshot>(bytes);
    case kReceipt: return ReadOnly<ReceiptStatus>(bytes);
    case kReadOut: return ReadOnly<std::optional<FinishedReadOut>>(bytes);
    case kReceipts: return ReadOnly<ReceiptPage>(bytes);
    default: return false;
  }
}

template <typename T>
std::string Seed(Kind kind, const T& value) {
  return std::string(1, static_cast<char>(kind)) + Flat(value);
}

NeighbourColumns Neighbours() {
  NeighbourColumns neighbours;
  neighbours.offsets = {0, 1, 1, 3};
  neighbours.scores = {-0.5, -0.9, -0.9};
  neighbours.ids = {7, 8, ~uint64_t{0}};
  neighbours.partitions = {0, 0, 42};
  for (const char* value : {"a", "", "ccc"}) neighbours.values.Append(value);
  neighbours.weights = {1.0F, 2.0F, 0.5F};
  neighbours.labels = {-1, 0, 1};
  neighbours.sources = {1, 2, 3};
  neighbours.positions = {4, 4, 4};
  neighbours.keys.assign(12, 'k');
  neighbours.key_bytes = 4;
  return neighbours;
}

EntryColumns Entries() {
  EntryColumns entries;
  entries.values.width = 4;
  for (uint64_t id : {1, 9}) {
    EntryView entry;
    entry.id = id;
    entry.key = "12345678";
    entry.value = "abcd";
    entry.attributes = {2.0F, 0.5, -5, 11, id, 99, 98};
    entries.Append(entry);
  }
  return entries;
}

WriteResult Written() {
  WriteResult result;
  result.given_ids = {1, 2, 3};
  StateOutcome states;
  states.count = 2;
  states.answers.emplace_back().status = WithReason(absl::AbortedError("version is 3"), reason::kVersionMismatch);
  states.answers.emplace_back().columns = {"abc", ""};
  result.states = std::make_shared<const StateOutcome>(states);
  SlotAnswers slots;
  slots.found = {1, 0};
  slots.mask_offsets = {0, 1, 1};
  result.slots = std::make_shared<const SlotAnswers>(slots);
  return result;
}

CatalogueChanges Catalogue() {
  CatalogueChanges changes;
  changes.memories.emplace_back().spec.name = "wiki";
  changes.memories.back().spec.dimension = 8;
  changes.aliases.push_back({8, "live", 7});
  changes.removed = {3, 4};
  return changes;
}

ReceiptPage Receipts() {
  ReceiptPage page;
  for (const Sequence sequence : {258, 300}) {
    ReceiptStatus status;
    status.deleted = 12;
    status.deleted_at_ms = 1'717'000'000'123;
    status.indexed_at_ms = 1'717'000'086'400;
    status.partitions.partitions = {0, 42};
    page.items.push_back({Version{7, {{1, sequence}}}, status});
  }
  page.items.back().status.state = ErasureState::kHidden;
  page.next = ScanPosition{7, 1, 0, 301};
  return page;
}

BackupManifest Manifest() {
  BackupManifest manifest{3, 1'717'000'000'123, 0x1234, 2, {{}, {1, 300, 200, 70'000, 0xabcdef}}};
  manifest.part = BackupPart{1, 77, true};
  return manifest;
}

ShardBackupState Backups() {
  ShardBackupState state;
  state.has_directory = true;
  state.greatest = 3;
  state.parts.push_back(Manifest());
  return state;
}

ReplicaDescription Replica() {
  ReplicaDescription replica;
  replica.address = "b:2";
  replica.state = ReplicaState::kReplaying;
  replica.detail = "applies 5 records first";
  replica.applied = 99;
  return replica;
}

CatalogueSnapshot Snapshot() {
  CatalogueSnapshot snapshot;
  snapshot.applied = 9;
  snapshot.names = Catalogue();
  snapshot.remembered.push_back({9, {1, 2}, WithReason(absl::NotFoundError("gone"), "MEMORY_NOT_FOUND"), {}});
  return snapshot;
}

std::vector<std::string> Seeds() {
  QueryCommand query;
  query.partitions.partitions = {0, 42};
  query.queries.Append("12345678");
  query.count = 2;
  query.k = 100;
  query.filter.labels = {-1, 5};
  query.exclude_ids = {3, 4};
  query.at_least = {7, {{1, 99}}};
  QueryOutcome found;
  found.neighbours = Neighbours();
  found.version = {7, {{0, 258}}};
  ScanCommand scan;
  scan.from = ScanPosition{7, 1, 2, 3};
  ScanPage page;
  page.entries = Entries();
  page.partitions = {0, 0};
  page.next = ScanPosition{7, 1, 2, 3};
  DeleteCommand erase;
  erase.ids = {1, 2};
  erase.filter.emplace();
  PruneCommand prune;
  prune.guard.emplace();
  prune.guard->targets = {1, 2};
  MatchRows match;
  match.ids = {1, 2};
  match.values = {0.5, 0.25};
  match.width = 1;
  return {Seed(kQuery, query),
          Seed(kFound, found),
          Seed(kWanted, std::vector<WantedEntry>{{1, 2, 3, 4}, {1, 2, 3, {}}}),
          Seed(kVisit, VisitCommand{}),
          Seed(kMatch, match),
          Seed(kScan, scan),
          Seed(kPage, page),
          Seed(kErase, erase),
          Seed(kWritten, Written()),
          Seed(kStatistics, DeploymentStatistics{}),
          Seed(kPrune, prune),
          Seed(kPruned, PruneOutcome{5, 4, 3, 2.0, {}}),
          Seed(kCatalogue, Catalogue()),
          Seed(kProgress, FlatProgress{"training", 1, 2}),
          Seed(kEntries, Entries()),
          Seed(kSessions, std::vector<NamedSession>{{"agent/1", {1, {2}, 3, 4, 5}}}),
          Seed(kTakeBackup, TakeBackupCommand{7, 99, BackupStep::kNames}),
          Seed(kTaken, TakenBackup{99, NamesMark{1, 2}}),
          Seed(kOrder, BackupOrder{}),
          Seed(kBackedUp, WrittenBackup{Manifest(), 300}),
          Seed(kBackups, Backups()),
          Seed(kCheckpoint, CheckpointManifest{7, 99, 5, {{"CURRENT", 16, {1, 2}}, {"000007.sst", 300, {3, 4}}}}),
          Seed(kChunk, CheckpointChunk{0, ChunkChecksum(0, "abc"), "abc"}),
          Seed(kDigest, ShardDigest{99, 5, {1, 2}}),
          Seed(kReplica, Replica()),
          Seed(kExport, ExportQuestion{7, 42, "lease", 1000, ExportPart::kLists, {0.5F, 1.0F}}),
          Seed(kHead, ExportHead{}),
          Seed(kPiece, ExportPiece{}),
          Seed(kSnapshot, Snapshot()),
          Seed(kReceipt, ReceiptStatus{}),
          Seed(kReadOut, std::optional(FinishedReadOut{"answer", 2, -0.5, 7})),
          Seed(kReceipts, Receipts())};
}

const Registration kTarget({"wire", Run, Seeds});

}  // namespace
}  // namespace mneme::fuzz
