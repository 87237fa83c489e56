// 1. Without a codebook: one pass over the store samples rows by a hash of the row, so that a rebuild trains on the
//    same sample; k-means and calibration.
// 2. Two passes over the store: the first assigns lists, the second puts keys and values into the mapped file. Ram
//    holds a few numbers a row.
#include "engine/index_builder.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/crash_point.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "common/vector_codec.h"

namespace mneme {
namespace {

// A sample takes every row of a partition below this.
constexpr uint64_t kMinSampleRows = 4096;
// Fewer rows of the sample than this for each list would make lists of single rows.
constexpr uint64_t kMinRowsPerList = 16;
static_assert(limits::kMaxSampleBytes / kMinRowsPerList <= limits::kMaxCentroidBytes &&
              kMinSampleRows / kMinRowsPerList * limits::kMaxDimension * sizeof(float) <= limits::kMaxCentroidBytes);
constexpr uint64_t kProgressRows = 8192;

uint64_t MostSampleRows(const IndexSpec& spec) {
  return std::max<uint64_t>(kMinSampleRows, limits::kMaxSampleBytes / (spec.dimension * sizeof(float)));
}

class Build {
 public:
  explicit Build(const BuildRequest& request) : request_(request) {
    if (request.sorted != nullptr) sorted_ = request.sorted->ListOfEachRow();
  }

  absl::StatusOr<BuiltSegment> Run() {
    RETURN_IF_ERROR(CheckDisk(request_.live_rows));
    if (request_.codebook != nullptr) return Write(request_.codebook);
    ASSIGN_OR_RETURN(const std::shared_ptr<const Codebook> trained, Train());
    if (trained == nullptr) {
      BuiltSegment nothing;
      nothing.installed.record = {.key = request_.key, .first_row = request_.first_row, .end_row = request_.end_row};
      return nothing;
    }
    CrashPoint("codebook_saved");
    absl::StatusOr<BuiltSegment> built = Write(trained);
    if (!built.ok()) request_.files->RemoveCodebook(trained->number());
    return built;
  }

 private:
  // About what a segment of so many rows takes: keys, values of a fixed width, and what each row has besides. Its codes
  // are less.
  absl::Status CheckDisk(uint64_t rows) const {
    constexpr uint64_t kOfEachRow = 3 * sizeof(uint64_t) + sizeof(uint32_t);  // id, row and moment; its place
    if (request_.disk == nullptr) return absl::OkStatus();
    return request_.disk->CheckFor(rows * (request_.spec.KeyBytes() + request_.spec.value_bytes + kOfEachRow));
  }

  absl::StatusOr<BuiltSegment> Write(const std::shared_ptr<const Codebook>& codebook) const {
    BuiltSegment built;
    built.codebook = codebook;
    SegmentBuilder builder(request_.spec, built.codebook, request_.first_row, request_.end_row);
    RETURN_IF_ERROR(Scan("assigning", [&](Row row, const EntryView& entry) { builder.Add(row, entry, ListOf(row)); }));
    built.installed.record = {.key = request_.key,
                              .file_number = request_.files->NextNumber(),
                              .codebook_number = built.codebook->number(),
                              .first_row = request_.first_row,
                              .end_row = request_.end_row};
    const uint64_t number = built.installed.record.file_number;
    RETURN_IF_ERROR(CheckDisk(builder.rows()));  // others have written meanwhile
    RETURN_IF_ERROR(builder.Begin(request_.files->SegmentPath(number), request_.files->Identity(request_.key, number)));
    RETURN_IF_ERROR(Scan("writing", [&](Row row, const EntryView& entry) { builder.Place(row, entry); }));
    RETURN_IF_ERROR(builder.Finish([this] { return !Report("coding", request_.live_rows); }));
    CrashPoint("segment_written");
    auto opened = request_.files->OpenSegment(built.installed.record, request_.spec);
    if (!opened.ok()) {
      request_.files->RemoveSegment(number);
      return opened.status();
    }
    built.installed.segment = *std::move(opened);
    return built;
  }

  // The list that the tail or a merged segment has the row in.
  std::optional<uint32_t> ListOf(Row row) const {
    if (request_.sorted != nullptr && row >= request_.sorted->first_row && row < request_.sorted->end_row) {
      return sorted_[row - request_.sorted->first_row];
    }
    for (const auto& segment : request_.merged) {
      if (row < segment->first_row() || row >= segment->end_row()) continue;
      const std::optional<size_t> position = segment->PositionOf(row);
      if (position.has_value()) return segment->ListAt(*position);
    }
    return std::nullopt;
  }

  bool Report(const char* stage, uint64_t rows_done) const {
    return request_.progress == nullptr || request_.progress({stage, rows_done, request_.live_rows});
  }

  // Visits every row; CANCELLED when the progress says so.
  template <typename Visit>
  absl::Status Scan(const char* stage, const Visit& visit) const {
    uint64_t rows = 0;
    bool cancelled = false;
    RETURN_IF_ERROR(request_.store->ScanRows(request_.key, request_.first_row, request_.end_row,
                                             [&](Row row, const EntryView& entry) {
                                               visit(row, entry);
                                               if (++rows % kProgressRows == 0) cancelled = !Report(stage, rows);
                                               return !cancelled;
                                             }));
    return cancelled ? absl::CancelledError("the index build was cancelled") : absl::OkStatus();
  }

  // Null when no row is left.
  absl::StatusOr<std::shared_ptr<const Codebook>> Train() const {
    const uint64_t rows = std::max<uint64_t>(request_.live_rows, 1);
    const size_t dimension = request_.spec.dimension;
    const bool given = !request_.given.centroids.empty();
    const uint32_t wanted = given ? static_cast<uint32_t>(request_.given.centroids.size() / dimension)
                                  : WantedLists(request_.spec, rows);
    const uint64_t sample_rows = std::clamp(uint64_t{wanted} * limits::kTrainingRowsPerCentroid, kMinSampleRows,
                                            MostSampleRows(request_.spec));
    std::vector<float> sample;
    RETURN_IF_ERROR(Scan("reading", [&](Row row, const EntryView& entry) {
      if (Mix64(row) % rows >= sample_rows) return;
      sample.resize(sample.size() + dimension);
      DecodeVector(request_.spec.key_dtype, entry.key.data(), dimension, sample.data() + sample.size() - dimension);
    }));
    const uint64_t sampled = sample.size() / dimension;
    if (sampled == 0) return nullptr;
    // Rows that are overwritten all the time may be gone by now.
    const uint32_t lists = static_cast<uint32_t>(std::clamp<uint64_t>(sampled / kMinRowsPerList, 1, wanted));
    const uint64_t number = request_.files->NextNumber();
    const auto cancelled = [this] { return !Report("training", 0); };
    if (given && cancelled()) return absl::CancelledError("the index build was cancelled");
    ASSIGN_OR_RETURN(const std::shared_ptr<Codebook> codebook,
                     given ? Codebook::TrainOn(request_.spec, number, sample, request_.given)
                           : Codebook::Train(request_.spec, number, sample, lists, cancelled));
    codebook->SetTrainedRows({rows, request_.end_row});
    RETURN_IF_ERROR(codebook->Save(request_.files->CodebookPath(number),
                                   request_.files->Identity(request_.key, number)));
    return std::shared_ptr<const Codebook>(codebook);
  }

  const BuildRequest& request_;
  std::vector<uint32_t> sorted_;  // of the rows of request_.sorted
};

}  // namespace

uint32_t WantedLists(const IndexSpec& spec, uint64_t rows) {
  const uint64_t wanted = spec.index.lists != 0 ? spec.index.lists : ListsFor(rows);
  const uint64_t most = std::min(rows, MostSampleRows(spec)) / kMinRowsPerList;
  return static_cast<uint32_t>(std::max<uint64_t>(1, std::min(wanted, most)));
}

absl::StatusOr<BuiltSegment> BuildSegment(const BuildRequest& request) { return Build(request).Run(); }

}  // namespace mneme
