// AnswerWriter: {"queries":[..]} or text, written while the answers come.
#ifndef MNEME_CLIENT_CLI_ANSWER_H_
#define MNEME_CLIENT_CLI_ANSWER_H_

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "client/cli/describe.h"
#include "client/cli/session.h"
#include "mneme/v1/memory.pb.h"

namespace mneme::cli {

// Writes one item for each query, in order, so that an answer of any length needs the ram of one batch. The JSON is
// closed by Finish only: what an error cut short does not parse, and so cannot be taken for an answer.
// Not thread-safe.
class AnswerWriter {
 public:
  // `statistics`: also tell what was searched, as "statistics" of the JSON or on stderr. `session` outlives the writer.
  // `nothing_found`: the note where no query found anything, in place of the texts of them all.
  AnswerWriter(Session& session, bool statistics, std::string nothing_found)
      : session_(session), statistics_(statistics), nothing_found_(std::move(nothing_found)) {}

  // The next query, which found so many entries.
  void Add(const Json& query, uint64_t found);
  void Add(const std::string& text, uint64_t found);
  void AddStatistics(const v1::SearchStatistics& statistics, const v1::Coverage& coverage, uint64_t queries);
  // A field of the JSON beside "queries", for Finish to write.
  void Attach(const std::string& name, Json value) { attached_[name] = std::move(value); }
  // Warns of shards that some answer lacks, which are "missing_shards" of the JSON.
  void Finish();

  // Returns INTERNAL unless `offsets`, a column of u64 of an answer, has `rows` + 1 ascending items.
  static absl::Status CheckRows(const std::string& offsets, uint64_t rows);

 private:
  Session& session_;
  const bool statistics_;
  const std::string nothing_found_;
  bool any_ = false;
  Json attached_ = Json::object();
  std::string held_back_;  // texts of queries that found nothing, until one finds something
  uint64_t found_ = 0;     // summed over queries
  v1::SearchStatistics last_;
  v1::Coverage coverage_;
  std::set<uint32_t> missing_;  // shards
  uint64_t queries_ = 0;
  uint64_t scanned_ = 0;   // summed over queries
  uint64_t reranked_ = 0;  // summed over queries
  bool exact_ = true;
};

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_ANSWER_H_
