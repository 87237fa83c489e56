#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/flat_export.h"
#include "engine/index_export.h"
#include "engine/label_sums.h"
#include "server/hosted_shard.h"
#include "server/shard_handlers.h"

namespace mneme {
namespace {

using internal::v1::Answer;
using internal::v1::Call;

// A message of a visit ends here.
constexpr size_t kVisitEntries = 8'192;
constexpr size_t kVisitBytes = 1024 * 1024;

// What most reads begin with: a selection of a memory, as a lease holds it or as it is now.
struct Selected {
  MemoryHandle memory;
  VisitCommand command;
};

template <typename... Ts>
absl::StatusOr<Selected> Select(const CallContext& call, const Call& request, Ts&... more) {
  const LocalDeployment& shard = Hosted(call.deployment);
  MemoryNumber number = 0;
  std::string lease;
  Selected selected;
  RETURN_IF_ERROR(Open(call, request, number, lease, selected.command, more...));
  ASSIGN_OR_RETURN(selected.memory, FindNumber(shard, number));
  RETURN_IF_ERROR(FindLeaseOn(shard, *selected.memory, lease, selected.command));
  selected.command.limits = call.limits;
  return selected;
}

}  // namespace

absl::Status HandleShardGet(const CallContext& call, const Call& request, Answer* response) {
  const LocalDeployment& shard = Hosted(call.deployment);
  MemoryNumber number = 0;
  PartitionId partition = 0;
  std::vector<EntryId> ids;
  bool with_keys = false;
  Version at_least;
  int64_t stamp_ms = 0;
  RETURN_IF_ERROR(Open(call, request, number, partition, ids, with_keys, at_least, stamp_ms));
  ASSIGN_OR_RETURN(const MemoryHandle memory, FindApplied(shard, number, at_least, call.limits));
  std::vector<bool> found;
  ASSIGN_OR_RETURN(const EntryColumns entries,
                   shard.GetAt(memory, partition, ids, with_keys, stamp_ms, call.limits, found));
  response->set_body(Flat(std::vector<uint8_t>(found.begin(), found.end()), entries));
  return absl::OkStatus();
}

absl::Status HandleShardCount(const CallContext& call, const Call& request, Answer* response) {
  ASSIGN_OR_RETURN(Selected selected, Select(call, request));
  ASSIGN_OR_RETURN(const uint64_t count, call.deployment.Count(selected.memory, std::move(selected.command)));
  response->set_body(Flat(count));
  return absl::OkStatus();
}

absl::Status HandleShardStored(const CallContext& call, const Call& request, Answer* response) {
  const LocalDeployment& shard = Hosted(call.deployment);
  MemoryNumber number = 0;
  std::optional<PartitionId> partition;
  Version at_least;
  RETURN_IF_ERROR(Open(call, request, number, partition, at_least));
  ASSIGN_OR_RETURN(const MemoryHandle memory, FindApplied(shard, number, at_least, call.limits));
  ASSIGN_OR_RETURN(const StoredAmount stored, shard.CountStored(memory, partition, call.limits));
  response->set_body(Flat(stored.entries, stored.bytes));
  return absl::OkStatus();
}

absl::Status HandleSumByLabel(const CallContext& call, const Call& request, Answer* response) {
  std::vector<int64_t> wanted;
  ASSIGN_OR_RETURN(Selected selected, Select(call, request, wanted));
  LabelSums sums(MakeIndexSpec(selected.memory->spec), wanted);
  ASSIGN_OR_RETURN(const Version read, call.deployment.SumByLabel(selected.memory, std::move(selected.command), sums));
  std::vector<int64_t> labels;
  std::vector<uint64_t> counts;
  std::vector<double> rounded;
  std::vector<double> lost;
  for (const auto& [label, sum] : sums.sums()) {
    labels.push_back(label);
    counts.push_back(sum.count());
    rounded.insert(rounded.end(), sum.rounded().begin(), sum.rounded().end());
    lost.insert(lost.end(), sum.lost().begin(), sum.lost().end());
  }
  response->set_body(Flat(read, sums.rows_read(), labels, counts, rounded, lost));
  return absl::OkStatus();
}

absl::Status HandleReadMatchRows(const CallContext& call, const Call& request, Answer* response) {
  std::vector<uint32_t> components;
  ASSIGN_OR_RETURN(Selected selected, Select(call, request, components));
  const uint32_t dimension = selected.memory->spec.dimension;
  if (std::any_of(components.begin(), components.end(), [&](uint32_t each) { return each >= dimension; })) {
    return absl::InvalidArgumentError("a component is beyond the keys of the memory");
  }
  Version read;
  MatchSide side{selected.memory, std::move(selected.command), std::move(components)};
  ASSIGN_OR_RETURN(const MatchRows rows, Hosted(call.deployment).ReadMatchRows(std::move(side), read));
  response->set_body(Flat(read, rows));
  return absl::OkStatus();
}

absl::Status HandleShardScan(const CallContext& call, const Call& request, Answer* response) {
  const LocalDeployment& shard = Hosted(call.deployment);
  MemoryNumber number = 0;
  ScanCommand command;
  RETURN_IF_ERROR(Open(call, request, number, command));
  ASSIGN_OR_RETURN(const MemoryHandle memory, FindNumber(shard, number));
  command.limits = call.limits;
  ASSIGN_OR_RETURN(const ScanPage page, shard.Scan(memory, command));
  response->set_body(Flat(page));
  return absl::OkStatus();
}

absl::Status HandleDryDelete(const CallContext& call, const Call& request, Answer* response) {
  const LocalDeployment& shard = Hosted(call.deployment);
  MemoryNumber number = 0;
  DeleteCommand command;
  Version at_least;
  RETURN_IF_ERROR(Open(call, request, number, command, at_least));
  ASSIGN_OR_RETURN(const MemoryHandle memory, FindApplied(shard, number, at_least, call.limits));
  command.limits = call.limits;
  ASSIGN_OR_RETURN(const DeleteOutcome outcome, shard.DryRun(memory, command));
  response->set_body(Flat(outcome.deleted));
  return absl::OkStatus();
}

absl::Status HandleShardReceipt(const CallContext& call, const Call& request, Answer* response) {
  const LocalDeployment& shard = Hosted(call.deployment);
  MemoryNumber number = 0;
  Version receipt;
  RETURN_IF_ERROR(Open(call, request, number, receipt));
  ASSIGN_OR_RETURN(const MemoryHandle memory, FindApplied(shard, number, receipt, call.limits));
  ASSIGN_OR_RETURN(const ReceiptStatus status, shard.Receipt(memory, receipt, call.limits));
  response->set_body(Flat(status));
  return absl::OkStatus();
}

absl::Status HandleShardReceipts(const CallContext& call, const Call& request, Answer* response) {
  const LocalDeployment& shard = Hosted(call.deployment);
  MemoryNumber number = 0;
  Sequence first = 0;
  uint64_t limit = 0;
  Version at_least;
  RETURN_IF_ERROR(Open(call, request, number, first, limit, at_least));
  if (limit > limits::kMaxReceiptsPage) return absl::InvalidArgumentError("a page has too many receipts");
  ASSIGN_OR_RETURN(const MemoryHandle memory, FindApplied(shard, number, at_least, call.limits));
  const ScanPosition from{number, shard.port().number(), 0, first};
  ASSIGN_OR_RETURN(const ReceiptPage page, shard.ListReceipts(memory, from, limit, call.limits));
  response->set_body(Flat(page));
  return absl::OkStatus();
}

absl::Status HandleShardExport(const CallContext& call, const Call& request, const Tell<Answer>& tell) {
  const LocalDeployment& shard = Hosted(call.deployment);
  ExportQuestion question;
  RETURN_IF_ERROR(Open(call, request, question));
  ASSIGN_OR_RETURN(const MemoryHandle memory, FindNumber(shard, question.memory));
  const MemorySpec& spec = memory->spec;
  PartitionSelection partition;
  partition.partitions = {question.partition};
  RETURN_IF_ERROR(CheckOwned(shard, *memory, partition));
  // Found anew for each piece: who takes none for long lets the lease end, and what it holds go.
  const auto lease = [&]() -> absl::StatusOr<LeaseHandle> {
    ASSIGN_OR_RETURN(LeaseHandle found, FindCovering(shard, *memory, question.lease, partition));
    if (!found->partitions.all && NamedBy(found->partitions).size() == 1) return found;
    return absl::InvalidArgumentError("an export is of a lease on one partition");
  };
  const auto say = [&](std::string body) {
    Answer answer;
    answer.set_body(std::move(body));
    return tell(std::move(answer)) ? absl::OkStatus() : absl::CancelledError("the caller has gone");
  };
  ExportHead head;
  std::unique_ptr<IndexExport> lists;
  {
    ASSIGN_OR_RETURN(const LeaseHandle held, lease());
    if (question.part != ExportPart::kLists) {
      ASSIGN_OR_RETURN(head, DescribeExport(spec, Held(*held), question.stamp_ms, call.limits));
    } else {
      if (question.given.size() % spec.dimension != 0 ||
          question.given.size() * sizeof(float) > limits::kMaxCentroidBytes) {
        return absl::InvalidArgumentError("centroids are no keys of the memory");
      }
      IndexExport::Part part{question.stamp_ms, nullptr};
      if (!question.given.empty()) part.given = Codebook::OfCentroids(MakeIndexSpec(spec), question.given);
      ASSIGN_OR_RETURN(lists, IndexExport::New(spec, Held(*held), call.limits, std::move(part)));
    }
  }
  if (question.part == ExportPart::kHead) return say(Flat(head));
  if (question.part == ExportPart::kCentroids) {
    for (uint32_t next = 0; next < head.lists;) {
      ExportPiece piece;
      {
        ASSIGN_OR_RETURN(const LeaseHandle held, lease());
        piece = CentroidsFrom(spec, Held(*held), next);
      }
      next += static_cast<uint32_t>(piece.centroids.size() / spec.dimension);
      RETURN_IF_ERROR(say(Flat(piece)));
    }
    return absl::OkStatus();
  }
  for (size_t next = 0; next < lists->lists();) {
    const absl::Span<const uint64_t> sizes = absl::MakeConstSpan(lists->list_sizes()).subspan(next, SizesOfPiece());
    ExportPiece piece;
    piece.list_sizes.assign(sizes.begin(), sizes.end());
    next += sizes.size();
    RETURN_IF_ERROR(say(Flat(piece)));
  }
  for (uint64_t told = 0; told < lists->entries();) {
    ExportPiece piece;
    {
      ASSIGN_OR_RETURN(const LeaseHandle held, lease());
      IndexExport::Rows rows = lists->Next(Held(*held), EntriesOfPiece(spec));
      piece.ids = std::move(rows.ids);
      piece.keys = std::move(rows.keys);
    }
    told += piece.ids.size();
    RETURN_IF_ERROR(say(Flat(piece)));
  }
  return absl::OkStatus();
}

absl::Status HandleVisit(const CallContext& call, const Call& request, const Tell<Answer>& tell) {
  ASSIGN_OR_RETURN(Selected selected, Select(call, request));
  const bool with_keys = selected.command.with_keys;
  std::vector<PartitionId> partitions;
  EntryColumns entries;
  const auto say = [&](const std::optional<Version>& read) {
    Answer answer;
    answer.set_body(Flat(partitions, entries, read));
    partitions.clear();
    entries = EntryColumns();
    entries.values.width = selected.memory->spec.ValueBytes();
    return tell(std::move(answer)) ? absl::OkStatus() : absl::CancelledError("the caller has gone");
  };
  entries.values.width = selected.memory->spec.ValueBytes();
  ASSIGN_OR_RETURN(const Version read,
                   call.deployment.Visit(selected.memory, selected.command,
                                         [&](PartitionId partition, const EntryView& seen) -> absl::Status {
                                           EntryView entry = seen;
                                           if (!with_keys) entry.key = {};
                                           partitions.push_back(partition);
                                           entries.Append(entry);
                                           const size_t bytes = entries.keys.size() + entries.values.bytes.size();
                                           const bool full = entries.count >= kVisitEntries || bytes >= kVisitBytes;
                                           return full ? say(std::nullopt) : absl::OkStatus();
                                         }));
  return say(read);
}

absl::Status HandleReadStates(const CallContext& call, const Call& request, Answer* response) {
  const LocalDeployment& shard = Hosted(call.deployment);
  MemoryNumber number = 0;
  ApplyStates apply;
  int64_t stamp_ms = 0;
  Version at_least;
  RETURN_IF_ERROR(Open(call, request, number, apply, stamp_ms, at_least));
  ASSIGN_OR_RETURN(const MemoryHandle memory, FindApplied(shard, number, at_least, call.limits));
  ASSIGN_OR_RETURN(const StateOutcome outcome, shard.port().ReadStates(*memory, apply, stamp_ms, call.limits));
  response->set_body(Flat(outcome));
  return absl::OkStatus();
}

absl::Status HandleReadSession(const CallContext& call, const Call& request, Answer* response) {
  const LocalDeployment& shard = Hosted(call.deployment);
  MemoryNumber number = 0;
  std::string session;
  int64_t stamp_ms = 0;
  Version at_least;
  RETURN_IF_ERROR(Open(call, request, number, session, stamp_ms, at_least));
  ASSIGN_OR_RETURN(const MemoryHandle memory, FindApplied(shard, number, at_least, call.limits));
  ASSIGN_OR_RETURN(const std::string bytes, shard.port().ReadSession(*memory, session, stamp_ms, call.limits));
  response->set_body(Flat(bytes));
  return absl::OkStatus();
}

absl::Status HandleShardSessions(const CallContext& call, const Call& request, Answer* response) {
  const LocalDeployment& shard = Hosted(call.deployment);
  MemoryNumber number = 0;
  std::string prefix;
  std::string after;
  uint64_t limit = 0;
  Version at_least;
  RETURN_IF_ERROR(Open(call, request, number, prefix, after, limit, at_least));
  ASSIGN_OR_RETURN(const MemoryHandle memory, FindApplied(shard, number, at_least, call.limits));
  ASSIGN_OR_RETURN(const std::vector<NamedSession> sessions,
                   shard.port().ListSessions(*memory, prefix, after, limit, call.limits));
  response->set_body(Flat(sessions));
  return absl::OkStatus();
}

}  // namespace mneme
