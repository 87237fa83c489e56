// RowSpans: a set of rows of one partition, as few ranges that may have some rows more.
#ifndef MNEME_ENGINE_ROW_SPANS_H_
#define MNEME_ENGINE_ROW_SPANS_H_

#include <algorithm>
#include <iterator>
#include <map>

#include "common/types.h"

namespace mneme {

// Ranges that lie near each other become one: a table of the store holds many rows, and is rewritten whole. Not
// thread-safe.
class RowSpans {
 public:
  static constexpr Row kNear = 65'536;

  // Rows [first, end).
  void Add(Row first, Row end) {
    auto at = spans_.upper_bound(first);
    if (at != spans_.begin() && std::prev(at)->second + kNear >= first) --at;
    while (at != spans_.end() && at->first <= end + kNear) {
      first = std::min(first, at->first);
      end = std::max(end, at->second);
      at = spans_.erase(at);
    }
    spans_.emplace(first, end);
  }
  bool Contains(Row row) const {
    const auto after = spans_.upper_bound(row);
    return after != spans_.begin() && row < std::prev(after)->second;
  }
  // Whether it has one of [first, end).
  bool HasAnyOf(Row first, Row end) const {
    const auto after = spans_.lower_bound(end);
    return after != spans_.begin() && first < std::prev(after)->second;
  }
  // By their first row.
  const std::map<Row, Row>& spans() const { return spans_; }

 private:
  std::map<Row, Row> spans_;
};

}  // namespace mneme

#endif  // MNEME_ENGINE_ROW_SPANS_H_
