// Selection: the options by which verbs choose entries, partitions and how to search.
#ifndef MNEME_CLIENT_CLI_SELECTION_H_
#define MNEME_CLIENT_CLI_SELECTION_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/command.h"
#include "client/cli/extra_rows.h"
#include "client/npy/npy_file.h"
#include "mneme/v1/memory.pb.h"

namespace mneme::cli {

// Which entries: --source, --label, --only-ids, --partition, --all-partitions.
struct Selection {
  std::vector<uint64_t> sources;
  std::vector<int64_t> labels;
  std::string only_ids;  // a file
  std::vector<uint64_t> partitions;
  bool all_partitions = false;

  bool HasFilter() const { return !sources.empty() || !labels.empty() || !only_ids.empty(); }
  // Returns INVALID_ARGUMENT, naming the file, if it holds no ids.
  absl::StatusOr<v1::Filter> ToFilter() const;
  v1::PartitionSelection ToPartitions() const;
};
void AddSelectionOptions(Command verb, Selection& selection);

// How to search: --exact, --recall, --nprobe, --approximate-distances.
struct Accuracy {
  bool exact = false;
  double recall = 0;    // 0: not given
  uint32_t nprobe = 0;  // 0: not given
  bool approximate_distances = false;

  v1::SearchParams ToSearchParams() const;
};
void AddAccuracyOptions(Command verb, Accuracy& accuracy);

// What query, distribution and evaluate have in common.
struct SearchOptions {
  std::string memory;
  std::string keys;
  Selection selection;
  Accuracy accuracy;
  std::optional<uint64_t> exclude_source;
  std::string exclude_sources;  // a file
  std::string exclude_ids;      // a file
  std::string vocabulary;       // a file; where a verb has --vocab
  std::vector<std::string> fingerprint;  // NAME=VALUE
  std::vector<std::string> mix;          // NAME=WEIGHT[:PARTITION]; where a verb has --mix
  bool allow_partial = false;            // where a verb has --allow-partial
  ExtraFiles extra;

  // Why no query found anything, for people.
  std::string NothingFound() const;
};
// All of them but --vocab, --mix and --allow-partial, which not every such verb has.
void AddSearchOptions(Command verb, SearchOptions& options);
// --vocab, of verbs that show tokens.
void AddVocabularyFile(Command verb, std::string& file);
// --allow-partial, of verbs whose answer still is one when a shard does not answer.
void AddPartialOption(Command verb, bool& allow_partial);
// Of verbs whose neighbours may have extra candidates: --extra-ids and what belongs to it.
void AddExtraOptions(Command verb, ExtraFiles& extra);

// The queries of one command, ready to be cut into requests that respect the limits. Immutable, thread-safe.
class QueryPlan {
 public:
  // Opens and checks the files. `answer_bytes` is what one neighbour may cost in an answer, 0 where the answer does not
  // grow with k. Returns INVALID_ARGUMENT if a file does not fit the memory, or k is out of bounds.
  static absl::StatusOr<QueryPlan> New(const SearchOptions& options, uint32_t dimension, uint32_t k,
                                       uint64_t answer_bytes);
  // Makes requests shorter where a query brings so many bytes beside its key.
  void LimitBy(uint64_t row_bytes);

  uint64_t rows() const { return keys_.rows(); }
  // Rows of each request, the last excepted, and how many requests that makes.
  uint64_t batch_rows() const { return batch_rows_; }
  size_t batches() const { return static_cast<size_t>((rows() + batch_rows_ - 1) / batch_rows_); }
  uint64_t FirstRow(size_t batch) const { return batch * batch_rows_; }
  uint64_t RowCount(size_t batch) const;

  // A request for rows [first, first + count) without a read-out.
  v1::QueryRequest Request(uint64_t first, uint64_t count) const;

 private:
  explicit QueryPlan(NpyFile keys) : keys_(std::move(keys)) {}

  NpyFile keys_;
  std::vector<NpyFile> exclude_sources_;  // none or one
  std::vector<NpyFile> exclude_ids_;      // none or one
  std::vector<uint64_t> exclude_source_;  // none or one, for every row
  std::vector<ExtraRows> extra_;          // none or one
  v1::QueryRequest common_;
  uint64_t batch_rows_ = 1;
};

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_SELECTION_H_
