// Column: items as a message has them.
#ifndef MNEME_TESTS_SERVER_COLUMN_H_
#define MNEME_TESTS_SERVER_COLUMN_H_

#include <string>
#include <vector>

#include "server/convert_columns.h"

namespace mneme {

template <typename T>
std::string Column(const std::vector<T>& items) {
  std::string out;
  WriteColumn(items, &out);
  return out;
}

}  // namespace mneme

#endif  // MNEME_TESTS_SERVER_COLUMN_H_
