#include "server/receipt_handlers.h"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/receipts.h"
#include "server/convert_selection.h"
#include "server/find_memory.h"
#include "server/request_error.h"

namespace mneme {
namespace {

v1::ErasureState WriteState(ErasureState state) {
  switch (state) {
    case ErasureState::kHidden: return v1::ERASURE_STATE_HIDDEN;
    case ErasureState::kIndex: return v1::ERASURE_STATE_INDEX;
    case ErasureState::kRocksDb: return v1::ERASURE_STATE_ROCKSDB;
    case ErasureState::kSnapshots: return v1::ERASURE_STATE_SNAPSHOTS;
  }
  return v1::ERASURE_STATE_UNSPECIFIED;
}

void Write(const std::string& id, const ReceiptStatus& status, v1::Receipt& out) {
  out.set_id(id);
  out.set_deleted(status.deleted);
  out.set_deleted_at_ms(status.deleted_at_ms);
  out.set_state(WriteState(status.state));
  out.set_index_at_ms(status.indexed_at_ms);
  out.set_rocksdb_at_ms(status.erased_at_ms);
  for (const HoldingBackup& backup : status.backups) {
    v1::HoldingBackup& holding = *out.add_backups();
    holding.set_number(backup.number);
    holding.set_created_ms(backup.created_ms);
  }
  out.set_backups_known(status.backups_known);
  for (const PartitionId partition : status.partitions.partitions) out.add_partitions(partition);
}

// Whether every partition that a deletion removed something from is selected.
bool Covers(const PartitionSelection& selection, const PartitionSelection& removed) {
  if (selection.all) return true;
  if (removed.all) return false;
  const std::vector<PartitionId> named =
      selection.partitions.empty() ? std::vector<PartitionId>{0} : selection.partitions;
  return std::all_of(removed.partitions.begin(), removed.partitions.end(), [&](PartitionId partition) {
    return std::find(named.begin(), named.end(), partition) != named.end();
  });
}

}  // namespace

absl::Status HandleGetReceipt(const CallContext& call, const v1::GetReceiptRequest& request,
                              v1::GetReceiptResponse* response) {
  ASSIGN_OR_RETURN(const MemoryHandle memory, FindMemory(call.deployment, request.memory()));
  PartitionSelection partitions;
  RETURN_IF_ERROR(ReadPartitions("partitions", request.partitions(), partitions));
  const absl::StatusOr<Version> receipt = call.deployment.DecodeReceipt(memory, request.receipt());
  if (absl::IsInvalidArgument(receipt.status())) return FieldError("receipt", "is not one that a deletion gave");
  RETURN_IF_ERROR(receipt.status());
  const absl::StatusOr<ReceiptStatus> status = call.deployment.Receipt(memory, *receipt, call.limits);
  if (absl::IsInvalidArgument(status.status())) return FieldError("receipt", "is not one that a deletion gave");
  RETURN_IF_ERROR(status.status());
  if (!Covers(partitions, status->partitions)) {
    // As if there were none: who may not ask for a partition learns nothing of it.
    return WithReason(absl::NotFoundError("no such receipt is kept of these partitions; name those of the deletion"),
                      reason::kReceiptNotFound);
  }
  Write(request.receipt(), *status, *response->mutable_receipt());
  return absl::OkStatus();
}

absl::Status HandleListReceipts(const CallContext& call, const v1::ListReceiptsRequest& request,
                                v1::ListReceiptsResponse* response) {
  ASSIGN_OR_RETURN(const MemoryHandle memory, FindMemory(call.deployment, request.memory()));
  if (request.page_size() > limits::kMaxReceiptsPage) {
    return FieldError("page_size",
                      absl::StrCat("is ", request.page_size(), "; must be at most ", limits::kMaxReceiptsPage));
  }
  std::optional<ScanPosition> from;
  if (!request.page_token().empty()) {
    const absl::StatusOr<ScanPosition> position = call.deployment.DecodeScanPosition(memory, request.page_token());
    if (absl::IsInvalidArgument(position.status())) return FieldError("page_token", "is none that an answer gave");
    RETURN_IF_ERROR(position.status());
    if (position->shard >= call.deployment.shards() || position->partition != 0) {
      return FieldError("page_token", "is none that an answer gave");
    }
    from = *position;
  }
  const size_t most = request.page_size() == 0 ? limits::kMaxReceiptsPage : request.page_size();
  ASSIGN_OR_RETURN(const ReceiptPage page, call.deployment.ListReceipts(memory, from, most, call.limits));
  for (const ReceiptPage::Item& item : page.items) {
    Write(call.deployment.EncodeReceipt(item.receipt), item.status, *response->add_receipts());
  }
  if (page.next.has_value()) response->set_next_page_token(call.deployment.EncodeScanPosition(*page.next));
  return absl::OkStatus();
}

}  // namespace mneme
