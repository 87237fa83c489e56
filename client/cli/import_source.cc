#include "client/cli/import_source.h"

#include <algorithm>
#include <numeric>
#include <string_view>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/cli/columns.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

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

// The file behind a field of a request.
std::string FileOf(const std::string& field, const ImportFiles& files) {
  if (field == "keys") return files.keys;
  if (field.rfind("values", 0) == 0) return files.values.values;
  if (field == "ids") return files.ids;
  if (field == "weights") return files.weights;
  if (field == "scores") return files.scores;
  if (field == "labels") return files.labels;
  if (field == "sources") return files.sources;
  if (field == "positions") return files.positions;
  return field == "expiries_ms" ? files.expiries_ms : "";
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
  if (files.partitions.empty()) return source;
  ASSIGN_OR_RETURN(NpyFile partitions, OpenColumn(files.partitions, source.rows()));
  RETURN_IF_ERROR(CheckRange(partitions, "partition", 0));
  source.partitions_.push_back(std::move(partitions));
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
  // Large enough to fill a frame and one synced write, small enough that several fit into the stream's window.
  return RowsWithin(1 << 20, 4'096);
}

uint64_t ImportSource::BulkBatchRows() const {
  // A table costs a few syncs: large, but two of them still fit into the window.
  return RowsWithin(8 << 20, limits::kMaxInsertEntries);
}

uint64_t ImportSource::RowsWithin(uint64_t bytes, uint64_t rows) const {
  constexpr uint64_t kAttributes = 32;
  const uint64_t row_bytes = keys_.row_bytes() + values_.RowBytes() + kAttributes;
  return std::clamp<uint64_t>(bytes / row_bytes, 1, rows);
}

uint64_t ImportSource::PartitionAt(uint64_t row, uint64_t otherwise) const {
  return partitions_.empty() ? otherwise : static_cast<uint64_t>(partitions_.front().IntegerAt(row));
}

uint64_t ImportSource::BatchEnd(uint64_t first, uint64_t rows) const {
  const uint64_t end = std::min(this->rows(), first + rows);
  if (partitions_.empty()) return end;
  uint64_t row = first + 1;
  while (row < end && PartitionAt(row, 0) == PartitionAt(first, 0)) ++row;
  return row;
}

v1::Entries ImportSource::Batch(uint64_t first, uint64_t count, uint64_t first_id) const {
  v1::Entries entries;
  *entries.mutable_keys() = KeyRows(keys_, first, count);
  *entries.mutable_values() = values_.Rows(first, count);
  std::vector<uint64_t> ids(count);
  std::iota(ids.begin(), ids.end(), first_id + first);
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

absl::Status NameRow(const absl::Status& status, const ImportFiles& files, uint64_t first) {
  constexpr std::string_view kField = "entries.";
  const std::string message(status.message().data(), status.message().size());
  const size_t open = message.find('[');
  const size_t close = message.find("] ");
  if (message.rfind(kField, 0) != 0 || open == std::string::npos || close == std::string::npos || open > close) {
    return status;
  }
  const std::string file = FileOf(message.substr(kField.size(), open - kField.size()), files);
  uint64_t item = 0;
  if (file.empty() || !absl::SimpleAtoi(message.substr(open + 1, close - open - 1), &item)) return status;
  absl::Status named(status.code(), absl::StrCat(file, " row ", first + item, message.substr(close + 1)));
  status.ForEachPayload([&](const auto& type, const absl::Cord& payload) { named.SetPayload(type, payload); });
  return named;
}

}  // namespace mneme::cli
