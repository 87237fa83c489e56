#include "client/cli/mix.h"

#include <cstdint>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/cli/columns.h"
#include "client/cli/exit_code.h"
#include "client/cli/table.h"
#include "common/option_text.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

constexpr char kBound[] = "NAME=WEIGHT or NAME=WEIGHT:PARTITION with a weight in (0, 1)";

absl::Status ParsePart(const std::string& part, v1::MixtureSource& source) {
  const size_t equals = part.find('=');
  const size_t colon = part.find(':', equals == std::string::npos ? 0 : equals);
  double weight = 0;
  uint64_t partition = 0;
  const bool partitioned = colon != std::string::npos;
  if (equals == 0 || equals == std::string::npos ||
      !absl::SimpleAtod(part.substr(equals + 1, partitioned ? colon - equals - 1 : std::string::npos), &weight) ||
      (partitioned && !absl::SimpleAtoi(part.substr(colon + 1), &partition))) {
    return UsageError(NotTaken("--mix", part, kBound));
  }
  if (!(weight > 0 && weight < 1)) return UsageError(NotTaken("--mix", part, kBound));
  source.set_memory(part.substr(0, equals));
  source.set_weight(weight);
  if (partitioned) source.mutable_partitions()->add_partitions(partition);
  return absl::OkStatus();
}

bool IsPart(const std::string& part) {
  v1::MixtureSource source;
  return ParsePart(part, source).ok();
}

}  // namespace

void AddMixOption(Command verb, std::vector<std::string>& parts) {
  verb.AddOption("--mix", parts, "Mix in another memory, or partition; the first has what is left of 1 (repeatable)")
      .Type("NAME=WEIGHT[:P]").Check(IsPart, kBound);
}

absl::Status MixIn(const std::vector<std::string>& parts, v1::QueryRequest& request) {
  if (parts.empty()) return absl::OkStatus();
  request.add_sources();  // the memory that was named
  double left = 1;
  for (const std::string& part : parts) {
    v1::MixtureSource source;
    RETURN_IF_ERROR(ParsePart(part, source));
    left -= source.weight();
    *request.add_sources() = std::move(source);
  }
  // Below a millionth it is what rounding leaves of weights that add up to 1.
  if (left < 1e-6) {
    return UsageError(absl::StrCat("--mix leaves nothing for \"", request.memory(), "\"; weights must add up to less "
                                   "than 1"));
  }
  v1::MixtureSource* first = request.mutable_sources(0);
  first->set_memory(request.memory());
  first->set_weight(left);
  *first->mutable_partitions() = request.partitions();
  request.clear_memory();
  request.clear_partitions();
  return absl::OkStatus();
}

Json SourcesJson(const v1::QueryResponse& response, size_t row) {
  Json sources = Json::array();
  for (const v1::MixtureAnswer& source : response.sources()) {
    Json json = {{"memory", source.memory()},
                 {"found", ColumnItem<uint32_t>(source.found(), row)},
                 {"weight", ColumnItem<double>(source.weights(), row)}};
    if (!source.active().empty()) json["active"] = ColumnItem<uint32_t>(source.active(), row);
    sources.push_back(std::move(json));
  }
  return sources;
}

std::string SourcesText(const v1::QueryResponse& response, size_t row) {
  std::string text;
  for (const v1::MixtureAnswer& source : response.sources()) {
    absl::StrAppend(&text, "  ", source.memory(), ": ", ColumnItem<uint32_t>(source.found(), row), " found, weight ",
                    HumanNumber(ColumnItem<double>(source.weights(), row)), "\n");
  }
  return text;
}

v1::SearchStatistics WholeStatistics(const v1::QueryResponse& response) {
  if (response.sources_size() == 0) return response.statistics();
  v1::SearchStatistics whole;
  whole.set_exact(true);
  for (const v1::MixtureAnswer& source : response.sources()) {
    const v1::SearchStatistics& part = source.statistics();
    whole.set_rows_total(whole.rows_total() + part.rows_total());
    whole.set_rows_scanned(whole.rows_scanned() + part.rows_scanned());
    whole.set_rows_reranked(whole.rows_reranked() + part.rows_reranked());
    whole.set_segments(whole.segments() + part.segments());
    whole.set_tail_rows(whole.tail_rows() + part.tail_rows());
    whole.set_exact(whole.exact() && part.exact());
  }
  return whole;
}

v1::Coverage WholeCoverage(const v1::QueryResponse& response) {
  if (response.sources_size() == 0) return response.coverage();
  v1::Coverage whole;
  for (const v1::MixtureAnswer& source : response.sources()) {
    whole.set_shards_total(whole.shards_total() + source.coverage().shards_total());
    whole.set_shards_answered(whole.shards_answered() + source.coverage().shards_answered());
    whole.mutable_missing_shards()->MergeFrom(source.coverage().missing_shards());
  }
  return whole;
}

}  // namespace mneme::cli
