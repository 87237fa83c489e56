#include "client/cli/selection.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/columns.h"
#include "client/cli/exit_code.h"
#include "client/cli/fingerprint.h"
#include "client/cli/mix.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

// Rows of one request: large enough for a batched scan, small enough for a deadline and for progress to move.
constexpr uint64_t kBatchRows = 256;
// Half of the message bound: room for offsets, fields and framing.
constexpr uint64_t kBatchBytes = limits::kMaxMessageBytes / 2;

// Rows that respect every limit of one request.
uint64_t BatchRows(uint32_t k, uint64_t key_bytes, uint64_t answer_bytes) {
  uint64_t rows = std::min<uint64_t>(kBatchRows, limits::kMaxNeighboursPerRequest / k);
  rows = std::min(rows, kBatchBytes / std::max<uint64_t>(1, key_bytes));
  if (answer_bytes > 0) rows = std::min(rows, kBatchBytes / (answer_bytes * k));
  return std::max<uint64_t>(1, rows);
}

absl::StatusOr<std::vector<NpyFile>> OpenOptional(const std::string& path, const std::string& noun, uint64_t rows) {
  std::vector<NpyFile> files;
  if (path.empty()) return files;
  ASSIGN_OR_RETURN(NpyFile file, OpenColumn(path, rows));
  RETURN_IF_ERROR(CheckRange(file, noun, 0));
  files.push_back(std::move(file));
  return files;
}

}  // namespace

absl::StatusOr<v1::Filter> Selection::ToFilter() const {
  v1::Filter filter;
  filter.set_labels(PackColumn(labels));
  filter.set_sources(PackColumn(sources));
  if (only_ids.empty()) return filter;
  ASSIGN_OR_RETURN(const NpyFile ids, NpyFile::Open(only_ids));
  RETURN_IF_ERROR(CheckColumn(ids, ids.rows()));
  RETURN_IF_ERROR(CheckRange(ids, "id", 0));
  // On the wire no id at all means every entry.
  if (ids.rows() == 0) return absl::InvalidArgumentError(absl::StrCat(only_ids, " has no ids; must have 1 or more"));
  filter.set_ids(ColumnRows<uint64_t>(ids, 0, ids.rows()));
  return filter;
}

v1::PartitionSelection Selection::ToPartitions() const {
  v1::PartitionSelection selection;
  for (const uint64_t partition : partitions) selection.add_partitions(partition);
  selection.set_all(all_partitions);
  return selection;
}

void AddSelectionOptions(Command verb, Selection& selection) {
  verb.AddOption("--source", selection.sources, "Only entries of this source (repeatable)")
      .Type("S").Commas().Group("Which entries");
  verb.AddOption("--label", selection.labels, "Only entries of this label (repeatable)")
      .Type("L").Commas().Group("Which entries");
  verb.AddOption("--only-ids", selection.only_ids, "Only entries of these ids")
      .Type("FILE.npy").Group("Which entries");
  verb.AddOption("--partition", selection.partitions, "Partition, 0 by default (repeatable)")
      .Type("P").Commas().Group("Which entries");
  verb.AddFlag("--all-partitions", selection.all_partitions, "Every partition")
      .Excludes("--partition").Group("Which entries");
}

v1::SearchParams Accuracy::ToSearchParams() const {
  v1::SearchParams search;
  if (exact) search.set_exact(true);
  if (recall > 0) search.set_recall_target(recall);
  if (nprobe > 0) search.set_nprobe(nprobe);
  search.set_approximate_distances(approximate_distances);
  return search;
}

void AddAccuracyOptions(Command verb, Accuracy& accuracy) {
  verb.AddFlag("--exact", accuracy.exact, "Certified exact search").Group("How to search");
  verb.AddOption("--recall", accuracy.recall, "Approximate: mean recall aimed at (default 0.95)")
      .Type("R").Range(1e-6, 1.0).Excludes("--exact").Group("How to search");
  verb.AddOption("--nprobe", accuracy.nprobe, "Approximate: lists to probe in each segment")
      .Type("N").Range(1U, limits::kMaxProbes).Excludes("--exact").Excludes("--recall").Group("How to search");
  verb.AddFlag("--approximate-distances", accuracy.approximate_distances,
                "Approximate: order by the index's own distances, which are estimates")
      .Excludes("--exact").Group("How to search");
}

std::string SearchOptions::NothingFound() const {
  const bool filter = selection.HasFilter() || exclude_source.has_value() || !exclude_sources.empty() ||
                      !exclude_ids.empty();
  return filter ? "no entry matches the filter" : "no entry found: there is none in what was searched";
}

void AddSearchOptions(Command verb, SearchOptions& options) {
  verb.AddOption("memory", options.memory, "The memory's name").Required().Type("");
  verb.AddOption("--keys", options.keys, "Queries: an array [n x dimension] of f16, f32 or f64")
      .Required().Type("FILE.npy");
  AddAccuracyOptions(verb, options.accuracy);
  AddSelectionOptions(verb, options.selection);
  verb.AddOption("--exclude-source", options.exclude_source, "No entries of this source")
      .Type("S").Group("Which entries");
  verb.AddOption("--exclude-sources", options.exclude_sources, "For each query, no entries of its source")
      .Type("FILE.npy").Group("Which entries");
  verb.AddOption("--exclude-ids", options.exclude_ids, "For each query, not this id")
      .Type("FILE.npy").Group("Which entries");
  AddFingerprintOption(verb, options.fingerprint, kPresentFingerprint);
}

void AddVocabularyFile(Command verb, std::string& file) {
  verb.AddOption("--vocab", file, "Show tokens as text: line i + 1 is token i").Type("FILE.txt");
}

void AddPartialOption(Command verb, bool& allow_partial) {
  verb.AddFlag("--allow-partial", allow_partial, "Answer without shards that do not, and say which")
      .Group("How to search");
}

void AddExtraOptions(Command verb, ExtraFiles& extra) {
  constexpr char kGroup[] = "Extra candidates, usually the successors of the last step's neighbours";
  verb.AddOption("--extra-ids", extra.ids, "[n x c], or those of all queries one after the other")
      .Type("FILE.npy").Group(kGroup);
  verb.AddOption("--extra-offsets", extra.offsets, "Where those of each query begin, n + 1")
      .Type("FILE.npy").Needs("--extra-ids").Group(kGroup);
  verb.AddOption("--extra-sources", extra.sources, "Count only where the entry is of this source; as --extra-ids")
      .Type("FILE.npy").Needs("--extra-ids").Group(kGroup);
}

absl::StatusOr<QueryPlan> QueryPlan::New(const SearchOptions& options, uint32_t dimension, uint32_t k,
                                         uint64_t answer_bytes) {
  if (k < 1 || k > limits::kMaxK) {
    return UsageError(absl::StrCat("-k is ", k, "; must be in [1, ", limits::kMaxK, "]"));
  }
  ASSIGN_OR_RETURN(NpyFile keys, OpenKeys(options.keys, options.memory, dimension));
  QueryPlan plan(std::move(keys));
  ASSIGN_OR_RETURN(plan.exclude_sources_, OpenOptional(options.exclude_sources, "source", plan.rows()));
  ASSIGN_OR_RETURN(plan.exclude_ids_, OpenOptional(options.exclude_ids, "id", plan.rows()));
  if (options.exclude_source.has_value()) {
    if (!plan.exclude_sources_.empty()) return UsageError("--exclude-source excludes --exclude-sources");
    plan.exclude_source_.push_back(*options.exclude_source);
  }
  plan.common_.set_memory(options.memory);
  plan.common_.set_k(k);
  plan.common_.set_allow_partial(options.allow_partial);
  if (!options.fingerprint.empty()) {
    ASSIGN_OR_RETURN(*plan.common_.mutable_fingerprint(), ParseFingerprint(options.fingerprint));
  }
  *plan.common_.mutable_search() = options.accuracy.ToSearchParams();
  *plan.common_.mutable_partitions() = options.selection.ToPartitions();
  if (options.selection.HasFilter()) {
    ASSIGN_OR_RETURN(*plan.common_.mutable_filter(), options.selection.ToFilter());
  }
  RETURN_IF_ERROR(MixIn(options.mix, plan.common_));
  if (!options.extra.ids.empty()) {
    ASSIGN_OR_RETURN(ExtraRows extra, ExtraRows::Open(options.extra, plan.rows()));
    plan.extra_.push_back(std::move(extra));
  }
  const auto sources = static_cast<uint32_t>(options.mix.size() + 1);
  plan.batch_rows_ = BatchRows(k * sources, uint64_t{dimension} * sizeof(float), answer_bytes);
  return plan;
}

void QueryPlan::LimitBy(uint64_t row_bytes) {
  batch_rows_ = std::clamp<uint64_t>(kBatchBytes / std::max<uint64_t>(1, row_bytes), 1, batch_rows_);
}

uint64_t QueryPlan::RowCount(size_t batch) const { return std::min(batch_rows_, rows() - FirstRow(batch)); }

v1::QueryRequest QueryPlan::Request(uint64_t first, uint64_t count) const {
  v1::QueryRequest request = common_;
  *request.mutable_keys() = KeyRows(keys_, first, count);
  if (!exclude_source_.empty()) {
    request.set_exclude_sources(PackColumn(std::vector<uint64_t>(count, exclude_source_.front())));
  }
  if (!exclude_sources_.empty()) {
    request.set_exclude_sources(ColumnRows<uint64_t>(exclude_sources_.front(), first, count));
  }
  if (!exclude_ids_.empty()) request.set_exclude_ids(ColumnRows<uint64_t>(exclude_ids_.front(), first, count));
  if (!extra_.empty()) *request.mutable_extra() = extra_.front().Rows(first, count);
  return request;
}

}  // namespace mneme::cli
