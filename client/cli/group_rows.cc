#include "client/cli/group_rows.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/columns.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme::cli {

void AddGroupOptions(Command verb, GroupFiles& files) {
  verb.AddOption("--contexts", files.contexts, "[groups x value dimension]: what reads each group")
      .Type("FILE.npy").Group(kGroups);
  verb.AddOption("--group-offsets", files.offsets, "Where each group of queries begins, groups + 1; else equal sizes")
      .Type("FILE.npy").Needs("--contexts").Group(kGroups);
  verb.AddOption("--context-metric", files.metric, "Of context and output: ip, cosine or l2").ShowDefault()
      .OneOf({"ip", "cosine", "l2"}).Needs("--contexts").Group(kGroups);
  verb.AddOption("--context-temperature", files.temperature, "T of the second softmax").ShowDefault()
      .Type("T").Range(limits::kMinTemperature, limits::kMaxTemperature).Needs("--contexts").Group(kGroups);
}

absl::StatusOr<GroupRows> GroupRows::Open(const GroupFiles& files, uint64_t rows, const v1::MemoryDescription& memory) {
  GroupRows groups;
  if (files.contexts.empty()) return groups;
  ASSIGN_OR_RETURN(NpyFile contexts, NpyFile::Open(files.contexts));
  RETURN_IF_ERROR(contexts.CheckDimensions(2, memory.value_dimension()));
  const uint64_t count = contexts.rows();
  if (!files.offsets.empty()) {
    ASSIGN_OR_RETURN(groups.offsets_, ReadOffsets(files.offsets, rows));
    if (groups.count() != count) {
      return absl::InvalidArgumentError(absl::StrCat(files.offsets, " has offsets of ", groups.count(), " groups, but ",
                                                     files.contexts, " has ", count, " rows"));
    }
  } else if (count == 0 || rows % count != 0) {
    return absl::InvalidArgumentError(absl::StrCat(files.contexts, " has ", count, " rows, which does not divide ",
                                                   rows, " queries; --group-offsets tells groups of other sizes"));
  } else {
    for (uint64_t group = 0; group <= count; ++group) groups.offsets_.push_back(group * (rows / count));
  }
  groups.common_.set_metric(files.metric == "cosine" ? v1::METRIC_COSINE
                            : files.metric == "l2"   ? v1::METRIC_L2
                                                     : v1::METRIC_INNER_PRODUCT);
  groups.common_.set_temperature(files.temperature);
  groups.contexts_.push_back(std::move(contexts));
  return groups;
}

v1::AttentionGroups GroupRows::Group(size_t group) const {
  v1::AttentionGroups message = common_;
  message.set_offsets(PackColumn(std::vector<uint64_t>{0, Count(group)}));
  *message.mutable_contexts() = KeyRows(contexts_.front(), group, 1);
  return message;
}

}  // namespace mneme::cli
