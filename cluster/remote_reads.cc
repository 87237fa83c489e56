#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "cluster/remote_deployment_state.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/flat_commands.h"
#include "engine/label_sums.h"
#include "engine/match_entries.h"
#include "engine/prune.h"

namespace mneme {
namespace {

using Async = ShardChannel::Async;
using Stub = ShardChannel::Stub;

absl::Status NotWhole() { return absl::DataLossError("a shard's answer is not whole"); }

// DATA_LOSS unless entries that a shard tells fit each other and are as wide as their memory says, with keys if they
// were asked for. Nothing is read of them before.
absl::Status CheckEntries(const EntryColumns& entries, const MemorySpec& spec, bool with_keys) {
  RETURN_IF_ERROR(CheckWhole(entries));
  const size_t key_bytes = with_keys && entries.count != 0 ? spec.KeyBytes() : 0;
  const bool fits = entries.values.width == spec.ValueBytes() && entries.key_bytes == key_bytes &&
                    entries.keys.size() == entries.count * key_bytes && entries.ids.size() == entries.count;
  return fits ? absl::OkStatus() : NotWhole();
}

}  // namespace

Question RemoteDeployment::State::Selected(const MemoryRecord& memory, VisitCommand command, uint32_t shard,
                                          const std::string& more) const {
  command.at_least = shards.PartOf(command.at_least, shard, command.lease);
  return Question(Flat(memory.number, LeaseOn(command.lease, shard), command) + more, HolderOf(command.lease, shard));
}

void RemoteDeployment::Query(MemoryHandle memory, QueryCommand command,
                             std::function<void(absl::StatusOr<QueryOutcome>)> done) {
  if (command.filter.stamp_ms == 0) command.filter.stamp_ms = StampOf(command.lease, state_->clock.NowMs());
  ExecuteRemoteQuery(state_->query_context, std::move(memory), std::move(command), std::move(done));
}

absl::StatusOr<EntryColumns> RemoteDeployment::Get(const MemoryHandle& memory, PartitionId partition,
                                                   const std::vector<EntryId>& ids, bool with_keys,
                                                   const Version& at_least, const CallLimits& limits,
                                                   std::vector<bool>& found) const {
  RETURN_IF_ERROR(state_->shards.CheckVersion(at_least));
  std::map<uint32_t, std::vector<EntryId>> split;
  std::vector<uint32_t> owner_of(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    owner_of[i] = state_->routing().OwnerOfEntry(*memory, partition, ids[i]);
    split[owner_of[i]].push_back(ids[i]);
  }
  std::vector<uint32_t> owners;
  for (const auto& [owner, of_owner] : split) owners.push_back(owner);
  const int64_t stamp_ms = state_->clock.NowMs();
  const auto body = [&](uint32_t shard) {
    return Question(Flat(memory->number, partition, split.at(shard), with_keys,
                         state_->shards.PartOf(at_least, shard), stamp_ms),
                    kAnyReplica, HedgedRead::kGet);
  };
  ASSIGN_OR_RETURN(const auto answers, state_->shards.AskAndWait(&Async::Get, owners, body, limits));
  struct Part {
    std::vector<uint8_t> found;
    EntryColumns entries;
    size_t asked = 0;
    size_t taken = 0;
  };
  std::map<uint32_t, Part> parts;
  for (size_t i = 0; i < owners.size(); ++i) {
    Part& part = parts[owners[i]];
    RETURN_IF_ERROR(Unflat(answers[i], part.found, part.entries));
    RETURN_IF_ERROR(CheckEntries(part.entries, memory->spec, with_keys));
    const auto absent = static_cast<size_t>(std::count(part.found.begin(), part.found.end(), 0));
    if (part.found.size() != split.at(owners[i]).size() || part.entries.count != part.found.size() - absent) {
      return NotWhole();
    }
  }
  EntryColumns entries;
  entries.values.width = memory->spec.ValueBytes();
  found.assign(ids.size(), false);
  for (size_t i = 0; i < ids.size(); ++i) {
    Part& part = parts.at(owner_of[i]);
    if (part.found[part.asked++] == 0) continue;
    entries.Append(part.entries.At(part.taken++));
    found[i] = true;
    if (entries.keys.size() + entries.values.bytes.size() > limits::kMaxMessageBytes) {
      return absl::ResourceExhaustedError(absl::StrCat("the entries asked for exceed ", limits::kMaxMessageBytes,
                                                       " bytes; ask for fewer ids"));
    }
  }
  return entries;
}

absl::StatusOr<Version> RemoteDeployment::Visit(
    const MemoryHandle& memory, VisitCommand command,
    const std::function<absl::Status(PartitionId, const EntryView&)>& visit) const {
  RETURN_IF_ERROR(state_->shards.CheckVersion(command.at_least));
  if (command.filter.stamp_ms == 0) command.filter.stamp_ms = StampOf(command.lease, state_->clock.NowMs());
  Version read;
  read.memory = memory->number;
  bool ended = false;
  const auto hear = [&](std::string_view bytes) -> absl::Status {
    std::vector<PartitionId> partitions;
    EntryColumns entries;
    std::optional<Version> part;
    RETURN_IF_ERROR(Unflat(bytes, partitions, entries, part));
    RETURN_IF_ERROR(CheckEntries(entries, memory->spec, command.with_keys));
    if (partitions.size() != entries.count) return NotWhole();
    for (size_t i = 0; i < entries.count; ++i) RETURN_IF_ERROR(visit(partitions[i], entries.At(i)));
    if (part.has_value()) Join(*part, read);
    ended = part.has_value();
    return absl::OkStatus();
  };
  for (const uint32_t owner : state_->routing().OwnersOf(*memory, command.partitions)) {
    ended = false;
    RETURN_IF_ERROR(state_->shards.shard(owner).AskForMany(&Stub::Visit, state_->Selected(*memory, command, owner),
                                                           command.limits, hear));
    if (!ended) return NotWhole();
  }
  return read;
}

absl::StatusOr<Version> RemoteDeployment::SumByLabel(const MemoryHandle& memory, VisitCommand command,
                                                     LabelSums& sums) const {
  RETURN_IF_ERROR(state_->shards.CheckVersion(command.at_least));
  if (command.filter.stamp_ms == 0) command.filter.stamp_ms = StampOf(command.lease, state_->clock.NowMs());
  const std::vector<uint32_t> owners = state_->routing().OwnersOf(*memory, command.partitions);
  const std::vector<int64_t> wanted(sums.wanted().begin(), sums.wanted().end());
  const auto body = [&](uint32_t shard) { return state_->Selected(*memory, command, shard, Flat(wanted)); };
  ASSIGN_OR_RETURN(const auto answers, state_->shards.AskAndWait(&Async::SumByLabel, owners, body, command.limits));
  Version read;
  read.memory = memory->number;
  const size_t width = memory->spec.dimension;
  for (const std::string& answer : answers) {
    Version part;
    uint64_t rows_read = 0;
    std::vector<int64_t> labels;
    std::vector<uint64_t> counts;
    std::vector<double> sum;
    std::vector<double> lost;
    RETURN_IF_ERROR(Unflat(answer, part, rows_read, labels, counts, sum, lost));
    if (counts.size() != labels.size() || sum.size() != labels.size() * width || lost.size() != sum.size()) {
      return absl::DataLossError("a shard's sums are not whole");
    }
    for (size_t i = 0; i < labels.size(); ++i) {
      const auto row = [&](const std::vector<double>& all) {
        const auto begin = all.begin() + static_cast<std::ptrdiff_t>(i * width);
        return std::vector<double>(begin, begin + static_cast<std::ptrdiff_t>(width));
      };
      RETURN_IF_ERROR(sums.Merge(labels[i], KeySum(row(sum), row(lost), counts[i])));
    }
    sums.CountRead(rows_read);
    Join(part, read);
  }
  return read;
}

namespace {

// All rows of a side; the version that was read of it.
absl::StatusOr<MatchRows> ReadSide(const ShardFan& shards, const MatchSide& side, Version& read) {
  VisitCommand command = side.selection;
  const std::vector<uint32_t> owners = shards.routing().OwnersOf(*side.memory, command.partitions);
  const auto body = [&](uint32_t shard) {
    VisitCommand part = side.selection;
    part.at_least = shards.PartOf(part.at_least, shard, part.lease);
    return Question(Flat(side.memory->number, LeaseOn(part.lease, shard), part, side.components),
                    HolderOf(part.lease, shard));
  };
  ASSIGN_OR_RETURN(const auto answers, shards.AskAndWait(&Async::ReadMatchRows, owners, body, command.limits));
  MatchRows rows;
  read.memory = side.memory->number;
  for (const std::string& answer : answers) {
    Version part;
    MatchRows more;
    RETURN_IF_ERROR(Unflat(answer, part, more));
    if (more.partitions.size() != more.ids.size() || more.values.size() != more.ids.size() * side.components.size()) {
      return absl::DataLossError("a shard's rows are not whole");
    }
    RETURN_IF_ERROR(AppendMatchRows(side, more, rows));
    Join(part, read);
  }
  return Ordered(side, rows);
}

}  // namespace

absl::StatusOr<MatchOutcome> RemoteDeployment::Match(MatchCommand command) const {
  const int64_t now_ms = state_->clock.NowMs();
  for (MatchSide* side : {&command.source, &command.target}) {
    RETURN_IF_ERROR(state_->shards.CheckVersion(side->selection.at_least));
    RowFilter& filter = side->selection.filter;
    if (filter.stamp_ms == 0) filter.stamp_ms = StampOf(side->selection.lease, now_ms);
  }
  MatchOutcome outcome;
  Version sources;
  ASSIGN_OR_RETURN(MatchRows x, ReadSide(state_->shards, command.source, sources));
  ASSIGN_OR_RETURN(MatchRows z, ReadSide(state_->shards, command.target, outcome.version));
  RETURN_IF_ERROR(CheckProducts(x, z));
  const CallLimits& limits = command.target.selection.limits;
  ASSIGN_OR_RETURN(MatrixMatch match, MatchMatrices(x.view(), z.view(), command.csls_k, command.form,
                                                    [&limits] { return limits.Check(); }));
  outcome.rows_read = x.read + z.read;
  outcome.products = match.products;
  outcome.entries = std::make_shared<const MatchedEntries>(
      MatchedEntries{std::move(x.ids), std::move(z.ids), std::move(match)});
  return outcome;
}

absl::StatusOr<ScanPage> RemoteDeployment::Scan(const MemoryHandle& memory, const ScanCommand& command) const {
  RETURN_IF_ERROR(state_->shards.CheckVersion(command.at_least));
  ScanCommand part = command;
  if (part.filter.stamp_ms == 0) part.filter.stamp_ms = state_->clock.NowMs();
  ScanPage page;
  page.entries.values.width = memory->spec.ValueBytes();
  const uint32_t first = command.from.has_value() ? command.from->shard : 0;
  for (const uint32_t owner : state_->routing().OwnersOf(*memory, command.partitions)) {
    if (owner < first) continue;
    part.at_least = state_->shards.PartOf(command.at_least, owner);
    part.from = owner == first ? command.from : std::nullopt;
    const size_t bytes = page.entries.keys.size() + page.entries.values.bytes.size();
    part.page_size = command.page_size - page.entries.count;
    part.page_bytes = command.page_bytes - std::min(command.page_bytes, bytes);
    ASSIGN_OR_RETURN(const std::string answer, state_->shards.shard(owner).AskAndWait(
                                                   &Async::Scan, Flat(memory->number, part), command.limits));
    ScanPage more;
    RETURN_IF_ERROR(Unflat(answer, more));
    RETURN_IF_ERROR(CheckEntries(more.entries, memory->spec, command.with_keys));
    if (more.partitions.size() != more.entries.count) return absl::DataLossError("a shard's page is not whole");
    for (size_t i = 0; i < more.entries.count; ++i) page.entries.Append(more.entries.At(i));
    page.partitions.insert(page.partitions.end(), more.partitions.begin(), more.partitions.end());
    page.next = more.next;
    if (page.next.has_value()) return page;
  }
  return page;
}

absl::StatusOr<uint64_t> RemoteDeployment::Count(const MemoryHandle& memory, VisitCommand command) const {
  RETURN_IF_ERROR(state_->shards.CheckVersion(command.at_least));
  if (command.filter.stamp_ms == 0) command.filter.stamp_ms = StampOf(command.lease, state_->clock.NowMs());
  const std::vector<uint32_t> owners = state_->routing().OwnersOf(*memory, command.partitions);
  const auto body = [&](uint32_t shard) { return state_->Selected(*memory, command, shard); };
  ASSIGN_OR_RETURN(const auto answers, state_->shards.AskAndWait(&Async::Count, owners, body, command.limits));
  uint64_t sum = 0;
  for (const std::string& answer : answers) {
    uint64_t part = 0;
    RETURN_IF_ERROR(Unflat(answer, part));
    sum += part;
  }
  return sum;
}

absl::StatusOr<StoredAmount> RemoteDeployment::CountStored(const MemoryHandle& memory,
                                                           std::optional<PartitionId> partition,
                                                           const CallLimits& limits) const {
  PartitionSelection selection;
  selection.all = !partition.has_value();
  if (partition.has_value()) selection.partitions = {*partition};
  // Sessions of a memory may lie where no partition of it does.
  const std::vector<uint32_t> owners =
      selection.all ? state_->shards.all() : state_->routing().OwnersOf(*memory, selection);
  const auto body = [&](uint32_t shard) {
    return Question(Flat(memory->number, partition, state_->shards.PartOf(Version(), shard)));
  };
  ASSIGN_OR_RETURN(const auto answers, state_->shards.AskAndWait(&Async::CountStored, owners, body, limits));
  StoredAmount sum;
  for (const std::string& answer : answers) {
    StoredAmount part;
    RETURN_IF_ERROR(Unflat(answer, part.entries, part.bytes));
    sum.entries += part.entries;
    sum.bytes += part.bytes;
  }
  return sum;
}

}  // namespace mneme
