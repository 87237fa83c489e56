#include "tests/bench/load_requests.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "readout/distribution.h"

namespace mneme::bench {
namespace {

template <typename T>
std::string Column(const std::vector<T>& items) {
  return std::string(reinterpret_cast<const char*>(items.data()), items.size() * sizeof(T));
}

absl::StatusOr<v1::Dtype> WireDtype(const NpyFile& keys) {
  RETURN_IF_ERROR(keys.CheckDimensions(2));
  if (keys.dtype() == NpyDtype::kF16) return v1::DTYPE_F16;
  if (keys.dtype() == NpyDtype::kF32) return v1::DTYPE_F32;
  return absl::InvalidArgumentError(absl::StrCat(keys.path(), ": keys must be f16 or f32"));
}

void SetKeys(const NpyFile& keys, v1::Dtype dtype, size_t first, size_t count, v1::Vectors& out) {
  const std::string_view bytes = keys.Rows(first, count);
  out.set_data(bytes.data(), bytes.size());
  out.set_dtype(dtype);
  out.set_dimension(static_cast<uint32_t>(keys.row_items()));
}

std::string Tokens(const NpyFile& values, size_t first, size_t count) {
  std::vector<uint32_t> tokens(count);
  for (size_t i = 0; i < count; ++i) tokens[i] = static_cast<uint32_t>(values.IntegerAt(first + i));
  return Column(tokens);
}

void SetSearch(const LoadOptions& options, v1::SearchParams& search) {
  if (options.exact) search.set_exact(true);
  if (options.recall > 0.0) search.set_recall_target(options.recall);
  if (options.nprobe > 0) search.set_nprobe(options.nprobe);
  search.set_approximate_distances(options.approximate_distances);
}

}  // namespace

absl::StatusOr<QueryLoad> QueryLoad::New(const LoadOptions& options) {
  ASSIGN_OR_RETURN(const NpyFile keys, NpyFile::Open(options.keys));
  ASSIGN_OR_RETURN(const v1::Dtype dtype, WireDtype(keys));
  const bool targets = options.read_out == "targets";
  const bool makes = options.read_out == "own_distribution";
  std::optional<NpyFile> values;
  if (targets) {
    ASSIGN_OR_RETURN(values, NpyFile::Open(options.values));
    RETURN_IF_ERROR(values->CheckRows(keys.rows()));
  }
  if (keys.rows() == 0) return absl::InvalidArgumentError(absl::StrCat(keys.path(), ": has no rows"));
  QueryLoad load;
  load.batch_ = options.batch;
  load.k_ = options.k;
  load.queries_ = keys.rows();
  load.temperature_ = makes ? options.temperature : 0.0;
  for (size_t first = 0; first < keys.rows(); first += options.batch) {
    const size_t count = std::min<size_t>(options.batch, keys.rows() - first);
    v1::QueryRequest& request = load.requests_.emplace_back();
    request.set_memory(options.memory);
    request.set_k(options.k);
    // What an index library returns too: 8 bytes of id and 4 of distance.
    request.set_precision(v1::PRECISION_SINGLE);
    if (options.partition != 0) request.mutable_partitions()->add_partitions(options.partition);
    SetKeys(keys, dtype, first, count, *request.mutable_keys());
    SetSearch(options, *request.mutable_search());
    if (options.read_out == "neighbours" || makes) {
      request.mutable_neighbours()->set_without_values(!options.with_values && !makes);
      continue;
    }
    request.mutable_distribution()->add_temperatures(options.temperature);
    if (targets) request.mutable_distribution()->set_targets(Tokens(*values, first, count));
  }
  if (!options.ids_out.empty()) load.ids_.assign(load.queries_ * load.k_, -1);
  return load;
}

size_t QueryLoad::Rows(size_t i) const {
  const size_t first = i % requests_.size() * batch_;
  return std::min<size_t>(batch_, queries_ - first);
}

void QueryLoad::MakeDistributions(const v1::NeighboursResult& result) const {
  const auto* offsets = reinterpret_cast<const uint64_t*>(result.offsets().data());
  const auto* distances = reinterpret_cast<const float*>(result.distances().data());
  const auto* tokens = reinterpret_cast<const Token*>(result.values().tokens().data());
  DistributionOptions how;
  how.temperature = temperature_;
  how.k = k_;
  std::vector<double> scores;
  volatile size_t made_tokens = 0;  // so that nothing is left out
  for (size_t q = 0; q + 1 < result.offsets().size() / sizeof(uint64_t); ++q) {
    const size_t count = offsets[q + 1] - offsets[q];
    scores.resize(count);
    for (size_t j = 0; j < count; ++j) scores[j] = -double{distances[offsets[q] + j]};
    const TokenDistribution made = Distribution({scores, {tokens + offsets[q], count}, {}}, how);
    made_tokens = made.tokens.size();
  }
}

void QueryLoad::Keep(size_t i, const v1::QueryResponse& response) {
  if (temperature_ > 0.0) MakeDistributions(response.neighbours());
  if (ids_.empty() || !response.has_neighbours()) return;
  const v1::NeighboursResult& result = response.neighbours();
  const size_t first = i % requests_.size() * batch_;
  std::vector<uint64_t> offsets(result.offsets().size() / sizeof(uint64_t));
  std::memcpy(offsets.data(), result.offsets().data(), offsets.size() * sizeof(uint64_t));
  for (size_t q = 0; q + 1 < offsets.size(); ++q) {
    const size_t count = std::min<size_t>(offsets[q + 1] - offsets[q], k_);
    std::memcpy(ids_.data() + (first + q) * k_, result.ids().data() + offsets[q] * sizeof(uint64_t),
                count * sizeof(uint64_t));
  }
}

absl::Status QueryLoad::WriteIds(const std::string& path) const {
  ASSIGN_OR_RETURN(NpyWriter writer, NpyWriter::Create(path, NpyDtype::kI64, k_));
  RETURN_IF_ERROR(writer.AppendItems(ids_));
  return writer.Finish();
}

absl::StatusOr<InsertLoad> InsertLoad::New(const LoadOptions& options) {
  ASSIGN_OR_RETURN(NpyFile keys, NpyFile::Open(options.keys));
  ASSIGN_OR_RETURN(NpyFile values, NpyFile::Open(options.values));
  RETURN_IF_ERROR(WireDtype(keys).status());
  RETURN_IF_ERROR(values.CheckRows(keys.rows()));
  RETURN_IF_ERROR(values.CheckInteger());
  if (keys.rows() < options.batch) {
    return absl::InvalidArgumentError(absl::StrCat(keys.path(), ": has fewer rows than a batch of ", options.batch));
  }
  return InsertLoad(options, std::move(keys), std::move(values));
}

void InsertLoad::Fill(size_t i, v1::InsertRequest& request) const {
  const size_t count = options_.batch;
  const size_t first = i % requests() * count;
  request.set_memory(options_.memory);
  request.set_partition(options_.partition);
  request.set_durability(options_.durability == "sync" ? v1::DURABILITY_SYNC : v1::DURABILITY_WRITTEN);
  v1::Entries& entries = *request.mutable_entries();
  const v1::Dtype dtype = keys_.dtype() == NpyDtype::kF16 ? v1::DTYPE_F16 : v1::DTYPE_F32;
  SetKeys(keys_, dtype, first, count, *entries.mutable_keys());
  entries.mutable_values()->set_tokens(Tokens(values_, first, count));
  if (options_.server_ids) return;
  std::vector<uint64_t> ids(count);
  std::iota(ids.begin(), ids.end(), options_.first_id + i * count);
  entries.set_ids(Column(ids));
}

}  // namespace mneme::bench
