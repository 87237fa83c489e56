#include "storage/reshard_target.h"

#include <algorithm>
#include <functional>

#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme {
namespace {

// What a record costs beside its bytes.
constexpr size_t kOverheadPerRecord = 128;

bool IsServerGiven(EntryId id) { return id >= limits::kFirstServerId; }

}  // namespace

void ReshardTarget::BeginPartition(const PartitionKey& key, size_t value_bytes, Row first_row) {
  head_ = PartitionHead{.key = key, .next_row = first_row};
  first_row_ = first_row;
  value_bytes_ = value_bytes;
}

absl::Status ReshardTarget::Add(const EntryView& entry) {
  if (open_ == nullptr) {
    open_ = columns_.emplace_back(std::make_unique<EntryColumns>()).get();
    open_->values.width = value_bytes_;
    open_row_ = head_.next_row;
  }
  open_->Append(entry);
  ++head_.next_row;
  ++head_.live_rows;
  const int64_t expiry_ms = entry.attributes.expiry_ms;
  int64_t& least = head_.least_expiry_ms;
  if (expiry_ms != 0 && (least == 0 || expiry_ms < least)) least = expiry_ms;
  return Added(entry.key.size() + entry.value.size());
}

// The ids of one run are all of clients, or all of the server: only the former have a bound, and may be new.
void ReshardTarget::EndRuns() {
  if (open_ == nullptr) return;
  const std::vector<EntryId>& ids = open_->ids;
  for (size_t begin = 0, end = 0; begin < ids.size(); begin = end) {
    const bool given = IsServerGiven(ids[begin]);
    while (end < ids.size() && IsServerGiven(ids[end]) == given) ++end;
    const auto first = ids.begin() + static_cast<ptrdiff_t>(begin);
    const auto last = ids.begin() + static_cast<ptrdiff_t>(end);
    const bool new_ids =
        !given && *first >= head_.id_bound && std::adjacent_find(first, last, std::greater_equal<>()) == last;
    batch_.runs.push_back({head_.key, open_row_ + begin, open_, begin, end, /*map_ids=*/true, new_ids});
    if (!given) head_.id_bound = std::max(head_.id_bound, *std::max_element(first, last) + 1);
  }
  open_ = nullptr;
}

absl::Status ReshardTarget::EndPartition(bool indexed) {
  EndRuns();
  batch_.heads.push_back(head_);
  if (head_.live_rows >= (indexed ? limits::kMinIndexedRows : limits::kFlatRows)) {
    batch_.added_segments.push_back({.key = head_.key,
                                     .file_number = next_file_ + 1,
                                     .codebook_number = next_file_,
                                     .first_row = first_row_,
                                     .end_row = head_.next_row});
    next_file_ += 2;
  }
  return Added(0);
}

absl::Status ReshardTarget::Add(const RememberedRequest& request) {
  batch_.requests.push_back(request);
  size_t bytes = request.result.size();
  for (const RequestPart& part : request.earlier) bytes += kOverheadPerRecord + part.result.size();
  return Added(bytes);
}

absl::Status ReshardTarget::Added(size_t bytes) {
  held_ += kOverheadPerRecord + bytes;
  return held_ < batch_bytes_ ? absl::OkStatus() : Commit();
}

absl::Status ReshardTarget::Commit() {
  EndRuns();
  batch_.sequence = sequence_;
  RETURN_IF_ERROR(store_->Commit(batch_));
  batch_ = StoreBatch();
  columns_.clear();
  held_ = 0;
  return absl::OkStatus();
}

absl::Status ReshardTarget::Finish() {
  RETURN_IF_ERROR(Commit());
  RETURN_IF_ERROR(store_->Flush());
  return store_->Sync().status();
}

}  // namespace mneme
