// Describe: memories, entries and values as JSON and as text for people.
#ifndef MNEME_CLIENT_CLI_DESCRIBE_H_
#define MNEME_CLIENT_CLI_DESCRIBE_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cli/columns.h"
#include "client/cli/json_text.h"
#include "client/cli/vocabulary.h"
#include "mneme/v1/admin.pb.h"
#include "mneme/v1/types.pb.h"

namespace mneme::cli {

// "l2", "ip", "cosine"; "f32", "f16"; "token", "vector", "bytes": the words that create takes.
std::string MetricWord(v1::Metric metric);
std::string DtypeWord(v1::Dtype dtype);
std::string ValueWord(v1::ValueKind kind);

Json MemoryJson(const v1::MemoryDescription& memory);

// Bytes for a cell of a table: escaped, and cut after 60 bytes.
std::string BytesText(const std::string& bytes);
// The first components for people: "0.5 1 .. (300 components)".
std::string VectorText(const std::vector<double>& vector);

// A packed matrix of `rows` rows of T as a list of lists.
template <typename T>
Json MatrixJson(const std::string& matrix, size_t rows) {
  Json json = Json::array();
  for (size_t row = 0; row < rows; ++row) json.push_back(MatrixRow<T>(matrix, row, rows));
  return json;
}

// Value i: a token as a number, a vector as numbers, bytes as a string, or {"base64": ..} where they are no UTF-8.
Json ValueJson(const v1::Values& values, size_t i);
// The same for a cell of a table; tokens by `vocabulary` where there is one.
std::string ValueText(const v1::Values& values, size_t i, const Vocabulary& vocabulary);

// Vector i as floats; empty if there is none.
std::vector<float> VectorAt(const v1::Vectors& vectors, size_t i);

// How many entries a batch has, and entry i of it, with its key where the batch has keys.
size_t EntryCount(const v1::Entries& entries);
Json EntryJson(const v1::Entries& entries, size_t i);

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_DESCRIBE_H_
