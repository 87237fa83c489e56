// MixtureColumns: what the read-outs of a mixture say of each of its sources.
#ifndef MNEME_SERVER_MIXTURE_COLUMNS_H_
#define MNEME_SERVER_MIXTURE_COLUMNS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "mneme/v1/memory.pb.h"
#include "server/query_source.h"

namespace mneme {

// Fills the MixtureAnswers of `response`, one for each source; without any, where a memory was asked alone, it only
// keeps count. Not thread-safe; `response` outlives it.
class MixtureColumns {
 public:
  MixtureColumns(absl::Span<const QuerySource> sources, v1::QueryResponse* response);

  // Of the sources, as they were given.
  const std::vector<double>& weights() const { return weights_; }
  // The next row's, by source: entries found, and with attention's weights those that have some.
  void AddFound(size_t source, size_t entries) { found_[source].push_back(static_cast<uint32_t>(entries)); }
  void AddActive(size_t source, size_t entries) { active_[source].push_back(static_cast<uint32_t>(entries)); }
  // The next row's, or cell's.
  void AddEffective(absl::Span<const double> effective);
  void Finish();

 private:
  v1::QueryResponse* const response_;
  std::vector<double> weights_;
  std::vector<std::vector<uint32_t>> found_;   // [sources][rows]
  std::vector<std::vector<uint32_t>> active_;  // [sources][rows], or empty
};

}  // namespace mneme

#endif  // MNEME_SERVER_MIXTURE_COLUMNS_H_
