#include "server/access_targets.h"

#include <algorithm>
#include <string>

namespace mneme {
namespace {

using Scope = AccessTarget::Scope;

AccessTarget Whole(const std::string& memory, Right right = Right::kRead) {
  return {.memory = memory, .scope = Scope::kWhole, .right = right};
}

AccessTarget Partition(const std::string& memory, uint64_t partition, Right right = Right::kRead) {
  return {.memory = memory, .scope = Scope::kPartitions, .partitions = {partition}, .right = right};
}

// Partition 0 where none is named. What is both `all` and named is refused later, and is all until then.
AccessTarget Selected(const std::string& memory, const v1::PartitionSelection& selection) {
  if (selection.all()) return Whole(memory);
  if (selection.partitions_size() == 0) return Partition(memory, 0);
  return {.memory = memory,
          .scope = Scope::kPartitions,
          .partitions = {selection.partitions().begin(), selection.partitions().end()}};
}

// By the bytes of its values, or else of its keys.
size_t EntriesIn(const v1::Entries& entries) {
  return std::max(RowsOf(entries.keys()), entries.values().tokens().size() / sizeof(uint32_t));
}

bool Writes(const v1::StateOperation& operation) {
  switch (operation.action_case()) {
    case v1::StateOperation::kRegisterGet:
    case v1::StateOperation::kLinearGet:
    case v1::StateOperation::kFeedbackGet:
    case v1::StateOperation::kCountersGet: return false;
    case v1::StateOperation::kRegisterPut:
    case v1::StateOperation::kRegisterCas:
    case v1::StateOperation::kRemove:
    case v1::StateOperation::kLinear:
    case v1::StateOperation::kFeedbackAttend:
    case v1::StateOperation::kCountersAdd:
    case v1::StateOperation::ACTION_NOT_SET: break;
  }
  return true;
}

// What removes makes room, and goes through where nothing is added beside it.
bool Adds(const v1::StateOperation& operation) {
  return Writes(operation) && operation.action_case() != v1::StateOperation::kRemove;
}

}  // namespace

AccessTargets TargetsOf(const v1::InsertRequest& request) { return {Partition(request.memory(), request.partition())}; }

AccessTargets TargetsOf(const v1::RememberRequest& request) {
  const bool learns = !request.has_learn() || request.learn();
  return {Partition(request.memory(), request.partition(), learns ? Right::kWrite : Right::kRead)};
}

AccessTargets TargetsOf(const v1::DeleteRequest& request) { return {Selected(request.memory(), request.partitions())}; }

AccessTargets TargetsOf(const v1::GetReceiptRequest& request) {
  return {Selected(request.memory(), request.partitions())};
}

AccessTargets TargetsOf(const v1::ListReceiptsRequest& request) { return {Whole(request.memory())}; }

AccessTargets TargetsOf(const v1::GetRequest& request) { return {Partition(request.memory(), request.partition())}; }

AccessTargets TargetsOf(const v1::ScanRequest& request) { return {Selected(request.memory(), request.partitions())}; }

AccessTargets TargetsOf(const v1::CountRequest& request) { return {Selected(request.memory(), request.partitions())}; }

AccessTargets TargetsOf(const v1::QueryRequest& request) {
  AccessTargets targets;
  if (!request.memory().empty() || request.sources_size() == 0) {
    targets.push_back(Selected(request.memory(), request.partitions()));
    // Beside sources it is only named, for appends to come.
    if (request.sources_size() != 0) targets.back().scope = Scope::kDescription;
  }
  for (const v1::MixtureSource& source : request.sources()) {
    targets.push_back(Selected(source.memory(), source.partitions()));
  }
  if (request.has_match()) {
    const std::string& other = request.match().source_memory();
    targets.push_back(Selected(other.empty() ? request.memory() : other, request.match().source_partitions()));
  }
  return targets;
}

AccessTargets TargetsOf(const v1::AcquireLeaseRequest& request) {
  return {Selected(request.memory(), request.partitions())};
}

AccessTargets TargetsOf(const v1::RenewLeaseRequest&) { return {}; }

AccessTargets TargetsOf(const v1::ReleaseLeaseRequest&) { return {}; }

AccessTargets TargetsOf(const v1::ApplyRequest& request) {
  const bool writes = std::any_of(request.operations().begin(), request.operations().end(), Writes) ||
                      request.session_expiry_ms() != 0;
  return {Whole(request.memory(), writes ? Right::kWrite : Right::kRead)};
}

AccessTargets TargetsOf(const v1::ResetSessionsRequest& request) { return {Whole(request.memory())}; }

AccessTargets TargetsOf(const v1::MaskTokensRequest& request) { return {Whole(request.memory())}; }

AccessTargets TargetsOf(const v1::ForkSessionRequest& request) { return {Whole(request.memory())}; }

AccessTargets TargetsOf(const v1::GetSessionRequest& request) { return {Whole(request.memory())}; }

AccessTargets TargetsOf(const v1::PutSessionRequest& request) { return {Whole(request.memory())}; }

AccessTargets TargetsOf(const v1::ListSessionsRequest& request) { return {Whole(request.memory())}; }

AccessTargets TargetsOf(const v1::CreateMemoryRequest& request) { return {Whole(request.memory().name())}; }

AccessTargets TargetsOf(const v1::GetMemoryRequest& request) {
  return {{.memory = request.memory(), .scope = Scope::kDescription}};
}

AccessTargets TargetsOf(const v1::ListMemoriesRequest&) { return {}; }

AccessTargets TargetsOf(const v1::DropMemoryRequest& request) { return {Whole(request.memory())}; }

// Whoever makes a name mean a memory gives all that may read the name what it holds.
AccessTargets TargetsOf(const v1::SetAliasRequest& request) {
  return {Whole(request.alias()), Whole(request.memory())};
}

AccessTargets TargetsOf(const v1::DropAliasRequest& request) { return {Whole(request.alias())}; }

AccessTargets TargetsOf(const v1::ListAliasesRequest&) { return {}; }

AccessTargets TargetsOf(const v1::BuildIndexRequest& request) { return {Whole(request.memory())}; }

AccessTargets TargetsOf(const v1::ExportIndexRequest& request) {
  return {Partition(request.memory(), request.partition())};
}

// Of the whole deployment where none is named, which only a pattern of all names matches.
AccessTargets TargetsOf(const v1::GetStatisticsRequest& request) { return {Whole(request.memory())}; }

AccessTargets TargetsOf(const v1::ProbeRecallRequest& request) { return {Whole(request.memory())}; }

AccessTargets TargetsOf(const v1::PruneMemoryRequest& request) {
  return {Partition(request.memory(), request.partition())};
}

// A backup has all memories.
AccessTargets TargetsOf(const v1::CreateBackupRequest&) { return {Whole("")}; }

AccessTargets TargetsOf(const v1::ListBackupsRequest&) { return {Whole("")}; }

// It tells of all memories together, and where they are.
AccessTargets TargetsOf(const v1::ShowClusterRequest&) { return {Whole("")}; }

// So does who answers for them.
AccessTargets TargetsOf(const v1::ChangeReplicasRequest&) { return {Whole("")}; }

AccessTargets TargetsOf(const v1::PingRequest&) { return {}; }

size_t RowsOf(const v1::Vectors& vectors) {
  const size_t width = vectors.dtype() == v1::DTYPE_F32 ? 4 : 2;
  return vectors.data().size() / std::max<size_t>(1, width * vectors.dimension());
}

size_t EntriesOf(const v1::InsertRequest& request) { return EntriesIn(request.entries()); }

size_t EntriesOf(const v1::RememberRequest& request) { return request.labels().size() / sizeof(int64_t); }

size_t EntriesOf(const v1::StepAppend& append) { return EntriesIn(append.entries()); }

std::optional<Addition> AdditionOf(const v1::InsertRequest& request) {
  return Addition{request.memory(), request.partition(), {EntriesOf(request), request.ByteSizeLong()}};
}

std::optional<Addition> AdditionOf(const v1::RememberRequest& request) {
  if (request.has_learn() && !request.learn()) return std::nullopt;
  return Addition{request.memory(), request.partition(), {EntriesOf(request), request.ByteSizeLong()}};
}

std::optional<Addition> AdditionOf(const v1::ApplyRequest& request) {
  if (std::none_of(request.operations().begin(), request.operations().end(), Adds)) return std::nullopt;
  return Addition{request.memory(), std::nullopt, {0, request.ByteSizeLong()}};
}

std::optional<Addition> AdditionOf(const v1::ForkSessionRequest& request) {
  return Addition{request.memory(), std::nullopt, {0, request.ByteSizeLong()}};
}

std::optional<Addition> AdditionOf(const v1::PutSessionRequest& request) {
  return Addition{request.memory(), std::nullopt, {0, request.ByteSizeLong()}};
}

AccessTargets TargetsOf(const internal::v1::AppendRequest&) { return {}; }

AccessTargets TargetsOf(const internal::v1::Call&) { return {}; }

AccessTargets TargetsOf(const internal::v1::WatchRequest&) { return {}; }

}  // namespace mneme
