#include "server/convert_selection.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "server/convert_columns.h"
#include "server/convert_entries.h"
#include "server/convert_memory.h"

namespace mneme {
namespace {

template <typename T>
absl::Status ReadFilterList(const std::string& field, const std::string& wire, std::optional<std::vector<T>>& out) {
  if (wire.empty()) return absl::OkStatus();
  std::vector<T> items;
  RETURN_IF_ERROR(ReadList(field, wire, limits::kMaxIds, items));
  SortUnique(items);
  out = std::move(items);
  return absl::OkStatus();
}

absl::Status ReadDeleteTarget(const v1::DeleteRequest& request, DeleteCommand& command) {
  switch (request.target_case()) {
    case v1::DeleteRequest::kIds: {
      std::vector<EntryId> ids;
      RETURN_IF_ERROR(ReadList("ids", request.ids(), limits::kMaxIds, ids));
      if (ids.empty()) return FieldError("ids", "is empty; must name at least 1 entry");
      SortUnique(ids);
      command.ids = std::move(ids);
      return absl::OkStatus();
    }
    case v1::DeleteRequest::kFilter: {
      RowFilter filter;
      RETURN_IF_ERROR(ReadFilter("filter", request.filter(), filter));
      if (filter.AcceptsEverything()) {
        return FieldError("filter", "has no condition; set `everything` to delete whole partitions");
      }
      command.filter = std::move(filter);
      return absl::OkStatus();
    }
    case v1::DeleteRequest::kEverything:
      if (!request.everything()) return FieldError("everything", "is false; must be true, or left out");
      command.everything = true;
      return absl::OkStatus();
    case v1::DeleteRequest::TARGET_NOT_SET: break;
  }
  return FieldError("target", "is not set; must be ids, filter or everything");
}

}  // namespace

absl::Status ReadPartitions(const std::string& field, const v1::PartitionSelection& wire, PartitionSelection& out) {
  const auto count = static_cast<size_t>(wire.partitions_size());
  const std::string path = absl::StrCat(field, ".partitions");
  if (wire.all() && count != 0) return FieldError(path, "must be empty when all partitions are asked for");
  if (count > limits::kMaxPartitionsPerQuery) {
    return FieldError(path, absl::StrCat("names ", count, "; must name at most ", limits::kMaxPartitionsPerQuery));
  }
  out.all = wire.all();
  out.partitions.assign(wire.partitions().begin(), wire.partitions().end());
  SortUnique(out.partitions);
  if (out.partitions.size() != count) return FieldError(path, "names one twice");
  return absl::OkStatus();
}

bool CoversSeveral(const PartitionSelection& selection) { return selection.all || selection.partitions.size() > 1; }

absl::Status ReadFilter(const std::string& field, const v1::Filter& wire, RowFilter& out) {
  RETURN_IF_ERROR(ReadFilterList(absl::StrCat(field, ".labels"), wire.labels(), out.labels));
  RETURN_IF_ERROR(ReadFilterList(absl::StrCat(field, ".sources"), wire.sources(), out.sources));
  RETURN_IF_ERROR(ReadFilterList(absl::StrCat(field, ".ids"), wire.ids(), out.ids));
  if (wire.has_created_from_ms()) out.created_from_ms = wire.created_from_ms();
  if (wire.has_created_to_ms()) out.created_to_ms = wire.created_to_ms();
  return absl::OkStatus();
}

absl::Status ReadDelete(const v1::DeleteRequest& request, DeleteCommand& command) {
  RETURN_IF_ERROR(CheckRequestId(request.request_id()));
  RETURN_IF_ERROR(ReadDurability("durability", request.durability(), command.durability));
  RETURN_IF_ERROR(ReadPartitions("partitions", request.partitions(), command.partitions));
  RETURN_IF_ERROR(ReadDeleteTarget(request, command));
  command.dry_run = request.dry_run();
  command.request_id = request.request_id();
  return absl::OkStatus();
}

}  // namespace mneme
