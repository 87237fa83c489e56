#include "client/cli/answer.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/cli/columns.h"
#include "client/cli/table.h"

namespace mneme::cli {

void AnswerWriter::Add(const Json& query, uint64_t found) {
  session_.Print(any_ ? "," : "{\"queries\":[");
  session_.Print(query.dump());
  any_ = true;
  found_ += found;
}

void AnswerWriter::Add(const std::string& text, uint64_t found) {
  found_ += found;
  held_back_ += text;
  if (found_ == 0) return;
  session_.Print(held_back_);
  held_back_.clear();
}

void AnswerWriter::AddStatistics(const v1::SearchStatistics& statistics, const v1::Coverage& coverage,
                                 uint64_t queries) {
  last_ = statistics;
  if (coverage.shards_answered() < coverage.shards_total() || queries_ == 0) coverage_ = coverage;
  missing_.insert(coverage.missing_shards().begin(), coverage.missing_shards().end());
  queries_ += queries;
  scanned_ += statistics.rows_scanned() * queries;
  reranked_ += statistics.rows_reranked();
  exact_ = exact_ && statistics.exact();
}

void AnswerWriter::Finish() {
  if (queries_ > 0 && found_ == 0) session_.Note(nothing_found_);
  if (!missing_.empty()) {
    session_.Note(absl::StrCat("warning: the answer lacks what is on shard ", absl::StrJoin(missing_, ", shard "),
                               ", which did not answer"));
    Attach("missing_shards", missing_);
  }
  const double scanned = static_cast<double>(scanned_) / static_cast<double>(std::max<uint64_t>(1, queries_));
  if (session_.json()) {
    session_.Print(any_ ? "]" : "{\"queries\":[]");
    for (const auto& [name, value] : attached_.items()) session_.Print(",\"" + name + "\":" + value.dump());
    if (statistics_) {
      const Json statistics = {{"exact", exact_},
                               {"rows_total", last_.rows_total()},
                               {"rows_scanned", scanned},
                               {"rows_reranked", reranked_},
                               {"segments", last_.segments()},
                               {"tail_rows", last_.tail_rows()},
                               {"shards_total", coverage_.shards_total()},
                               {"shards_answered", coverage_.shards_answered()}};
      session_.Print(",\"statistics\":" + statistics.dump());
    }
    session_.Print("}\n");
  } else if (statistics_ && queries_ > 0) {
    session_.Note(absl::StrFormat("%s search, %s of %s rows scanned for each query, %d of %d shards answered",
                                  exact_ ? "exact" : "approximate", HumanCount(static_cast<uint64_t>(scanned)),
                                  HumanCount(last_.rows_total()), coverage_.shards_answered(),
                                  coverage_.shards_total()));
  }
}

absl::Status AnswerWriter::CheckRows(const std::string& offsets, uint64_t rows) {
  const std::vector<uint64_t> unpacked = UnpackColumn<uint64_t>(offsets);
  if (unpacked.size() == rows + 1 && std::is_sorted(unpacked.begin(), unpacked.end())) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("the answer has ", unpacked.size(), " row offsets; ", rows + 1, " ascending ones were asked for"));
}

}  // namespace mneme::cli
