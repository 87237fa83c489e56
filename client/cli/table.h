// Table: rows of text in aligned columns.
#ifndef MNEME_CLIENT_CLI_TABLE_H_
#define MNEME_CLIENT_CLI_TABLE_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace mneme::cli {

// A small table for people. Columns of numbers are right-aligned, widths count code points. Not thread-safe.
class Table {
 public:
  // An empty header shows none.
  explicit Table(std::vector<std::string> header) : header_(std::move(header)) {}
  void Add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  bool empty() const { return rows_.empty(); }
  // All rows, each ended by a newline.
  std::string ToString() const;

 private:
  std::vector<std::string> header_;
  std::vector<std::vector<std::string>> rows_;
};

// "1,234,567", "12.3 MB", "0.1235", "1.5 s": numbers for people.
std::string HumanCount(uint64_t count);
std::string HumanBytes(uint64_t bytes);
std::string HumanNumber(double number);
std::string HumanSeconds(double seconds);

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_TABLE_H_
