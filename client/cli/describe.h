// Describe: memories, entries and values as JSON and as text for people.
#ifndef MNEME_CLIENT_CLI_DESCRIBE_H_
#define MNEME_CLIENT_CLI_DESCRIBE_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "client/cli/vocabulary.h"
#include "mneme/v1/admin.pb.h"
#include "mneme/v1/types.pb.h"

namespace mneme::cli {

using Json = nlohmann::ordered_json;

// "l2", "ip", "cosine"; "f32", "f16"; "token", "vector", "bytes": the words that create takes.
std::string MetricWord(v1::Metric metric);
std::string DtypeWord(v1::Dtype dtype);
std::string ValueWord(v1::ValueKind kind);

Json MemoryJson(const v1::MemoryDescription& memory);

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
