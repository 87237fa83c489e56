#include "client/cli/extra_rows.h"

#include "absl/strings/str_cat.h"
#include "client/cli/columns.h"
#include "common/status_macros.h"

namespace mneme::cli {

absl::StatusOr<ExtraRows> ExtraRows::Open(const ExtraFiles& files, uint64_t rows) {
  ASSIGN_OR_RETURN(NpyFile ids, NpyFile::Open(files.ids));
  ExtraRows extra(std::move(ids));
  const uint64_t items = extra.ids_.rows() * extra.ids_.row_items();
  if (files.offsets.empty()) {
    RETURN_IF_ERROR(extra.ids_.CheckDimensions(2));
    RETURN_IF_ERROR(extra.ids_.CheckRows(rows));
    for (uint64_t row = 0; row <= rows; ++row) extra.offsets_.push_back(row * extra.ids_.row_items());
  } else {
    RETURN_IF_ERROR(extra.ids_.CheckDimensions(1));
    ASSIGN_OR_RETURN(extra.offsets_, ReadOffsets(files.offsets, items));
    if (extra.offsets_.size() != rows + 1) {
      return absl::InvalidArgumentError(absl::StrCat(files.offsets, " has ", extra.offsets_.size(), " offsets; ", rows,
                                                     " queries have ", rows + 1));
    }
  }
  RETURN_IF_ERROR(CheckRange(extra.ids_, "id", 0));
  if (files.sources.empty()) return extra;
  ASSIGN_OR_RETURN(NpyFile sources, NpyFile::Open(files.sources));
  if (sources.shape() != extra.ids_.shape()) {
    return absl::InvalidArgumentError(
        absl::StrCat(files.sources, " has another shape than ", files.ids, "; each id has one source"));
  }
  RETURN_IF_ERROR(CheckRange(sources, "source", 0));
  extra.sources_.push_back(std::move(sources));
  return extra;
}

v1::ExtraCandidates ExtraRows::Rows(uint64_t first, uint64_t count) const {
  v1::ExtraCandidates rows;
  const uint64_t begin = offsets_[first];
  const uint64_t items = offsets_[first + count] - begin;
  std::vector<uint64_t> offsets(offsets_.begin() + static_cast<int64_t>(first),
                                offsets_.begin() + static_cast<int64_t>(first + count + 1));
  for (uint64_t& offset : offsets) offset -= begin;
  rows.set_offsets(PackColumn(offsets));
  rows.set_ids(ColumnRows<uint64_t>(ids_, begin, items));
  if (!sources_.empty()) rows.set_sources(ColumnRows<uint64_t>(sources_.front(), begin, items));
  return rows;
}

}  // namespace mneme::cli
