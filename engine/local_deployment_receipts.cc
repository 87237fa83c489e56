// Receipts of deletions, as a deployment whose shards are in this process answers for them.
#include <utility>

#include "common/error_reason.h"
#include "common/status_macros.h"
#include "engine/local_deployment_state.h"
#include "engine/receipts.h"

namespace mneme {
namespace {

// Adds the backups that may still have what was deleted, and takes the last step when there is none.
absl::Status LookAtBackups(const Backups* backups, uint64_t deployment, ReceiptStatus& status) {
  if (backups == nullptr || !backups->has_directory()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<ListedBackup> listed, backups->List());
  status.backups_known = true;
  for (const ListedBackup& backup : listed) {
    const bool own = !backup.manifest.ok() || backup.manifest->deployment == deployment;
    const bool before = status.state < ErasureState::kRocksDb || backup.number <= status.last_backup;
    if (!own || !before) continue;
    status.backups.push_back({backup.number, backup.manifest.ok() ? backup.manifest->created_ms : 0});
  }
  if (status.state == ErasureState::kRocksDb && status.backups.empty()) status.state = ErasureState::kSnapshots;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ReceiptStatus> LocalDeployment::Receipt(const MemoryHandle& memory, const Version& receipt,
                                                       const CallLimits& limits) const {
  std::optional<ReceiptStatus> whole;
  for (const Version::Part& part : receipt.parts) {
    if (part.shard >= state_->by_number.size() || state_->by_number[part.shard] == nullptr) {
      return absl::InvalidArgumentError("receipt names a shard that does not exist");
    }
    RETURN_IF_ERROR(limits.Check());
    ASSIGN_OR_RETURN(ReceiptStatus status,
                     ReadReceiptStatus(state_->by_number[part.shard]->store(), memory->number, part.sequence));
    if (whole.has_value()) {
      JoinReceipt(status, *whole);
    } else {
      whole = std::move(status);
    }
  }
  if (!whole.has_value()) return absl::InvalidArgumentError("receipt names no shard");
  RETURN_IF_ERROR(LookAtBackups(state_->backups.get(), identity(), *whole));
  return *std::move(whole);
}

absl::StatusOr<ReceiptPage> LocalDeployment::ListReceipts(const MemoryHandle& memory,
                                                          const std::optional<ScanPosition>& from,
                                                          size_t limit) const {
  ReceiptPage page;
  for (const auto& shard : state_->shards) {
    if (from.has_value() && shard->number() < from->shard) continue;
    const Sequence first = from.has_value() && shard->number() == from->shard ? from->row : 0;
    ASSIGN_OR_RETURN(const std::optional<Sequence> next,
                     ReadReceiptPage(shard->store(), shard->number(), memory->number, first, limit, page));
    if (!next.has_value()) continue;
    page.next = ScanPosition{memory->number, shard->number(), 0, *next};
    break;
  }
  for (ReceiptPage::Item& item : page.items) {
    RETURN_IF_ERROR(LookAtBackups(state_->backups.get(), identity(), item.status));
  }
  return page;
}

}  // namespace mneme
