#include "client/cli/import_source.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/columns.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

// Large enough to fill a frame and one synced write, small enough that several fit into the stream's window.
constexpr uint64_t kBatchBytes = 1 << 20;
constexpr uint64_t kBatchRows = 4'096;

absl::StatusOr<NpyFile> OpenKeyFile(const ImportFiles& files, const v1::MemoryDescription& memory) {
  if (!files.values.raw) return OpenKeys(files.keys, memory.name(), memory.dimension());
  if (files.raw_dimension != memory.dimension()) {
    return absl::InvalidArgumentError(absl::StrCat("memory \"", memory.name(), "\" has dimension ",
                                                   memory.dimension(), ", but --dim is ", files.raw_dimension));
  }
  ASSIGN_OR_RETURN(const NpyDtype dtype, ParseNpyDtypeName(files.raw_dtype));
  ASSIGN_OR_RETURN(NpyFile keys, NpyFile::OpenRaw(files.keys, dtype, files.raw_dimension));
  RETURN_IF_ERROR(CheckKeys(keys, memory.name(), memory.dimension()));
  return keys;
}

}  // namespace

absl::StatusOr<ImportSource> ImportSource::Open(const ImportFiles& files, const v1::MemoryDescription& memory) {
  ASSIGN_OR_RETURN(NpyFile keys, OpenKeyFile(files, memory));
  ASSIGN_OR_RETURN(ValueSource values, ValueSource::Open(files.values, memory));
  if (values.rows() != keys.rows()) {
    return absl::InvalidArgumentError(absl::StrCat(files.keys, " has ", keys.rows(), " rows, but ",
                                                   files.values.values, " has ", values.rows()));
  }
  ImportSource source(std::move(keys), std::move(values));
  RETURN_IF_ERROR(source.AddColumn(Kind::kIds, files.ids));
  RETURN_IF_ERROR(source.AddColumn(Kind::kWeights, files.weights));
  RETURN_IF_ERROR(source.AddColumn(Kind::kScores, files.scores));
  RETURN_IF_ERROR(source.AddColumn(Kind::kLabels, files.labels));
  RETURN_IF_ERROR(source.AddColumn(Kind::kSources, files.sources));
  RETURN_IF_ERROR(source.AddColumn(Kind::kPositions, files.positions));
  RETURN_IF_ERROR(source.AddColumn(Kind::kExpiries, files.expiries_ms));
  return source;
}

absl::Status ImportSource::AddColumn(Kind kind, const std::string& path) {
  if (path.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(NpyFile file, OpenColumn(path, rows()));
  switch (kind) {
    case Kind::kIds: RETURN_IF_ERROR(CheckRange(file, "id", limits::kFirstServerId)); break;
    case Kind::kSources: RETURN_IF_ERROR(CheckRange(file, "source", 0)); break;
    case Kind::kPositions: RETURN_IF_ERROR(CheckRange(file, "position", 0)); break;
    case Kind::kExpiries: RETURN_IF_ERROR(CheckRange(file, "expiry", 0)); break;
    case Kind::kLabels: RETURN_IF_ERROR(file.CheckInteger()); break;
    case Kind::kWeights:
    case Kind::kScores: break;  // any number; the server knows the bounds
  }
  columns_.push_back({kind, std::move(file)});
  return absl::OkStatus();
}

uint64_t ImportSource::BatchRows() const {
  constexpr uint64_t kAttributes = 32;
  const uint64_t row_bytes = keys_.row_bytes() + values_.RowBytes() + kAttributes;
  return std::clamp<uint64_t>(kBatchBytes / row_bytes, 1, kBatchRows);
}

v1::Entries ImportSource::Batch(uint64_t first, uint64_t count) const {
  v1::Entries entries;
  *entries.mutable_keys() = KeyRows(keys_, first, count);
  *entries.mutable_values() = values_.Rows(first, count);
  std::vector<uint64_t> ids(count);
  std::iota(ids.begin(), ids.end(), first);
  entries.set_ids(PackColumn(ids));
  for (const Column& column : columns_) {
    switch (column.kind) {
      case Kind::kIds: entries.set_ids(ColumnRows<uint64_t>(column.file, first, count)); break;
      case Kind::kWeights: entries.set_weights(ColumnRows<float>(column.file, first, count)); break;
      case Kind::kScores: entries.set_scores(ColumnRows<double>(column.file, first, count)); break;
      case Kind::kLabels: entries.set_labels(ColumnRows<int64_t>(column.file, first, count)); break;
      case Kind::kSources: entries.set_sources(ColumnRows<uint64_t>(column.file, first, count)); break;
      case Kind::kPositions: entries.set_positions(ColumnRows<uint64_t>(column.file, first, count)); break;
      case Kind::kExpiries: entries.set_expiries_ms(ColumnRows<int64_t>(column.file, first, count)); break;
    }
  }
  return entries;
}

}  // namespace mneme::cli
