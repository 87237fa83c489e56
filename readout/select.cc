#include "readout/select.h"

#include <algorithm>
#include <cmath>

#include "common/checksum.h"

namespace mneme {
namespace {

struct Candidate {
  double rank = 0.0;  // greatest first
  double score = 0.0;
  EntryId id = 0;
  size_t row = 0;
};

bool Before(const Candidate& a, const Candidate& b) {
  if (a.rank != b.rank) return a.rank > b.rank;
  if (a.score != b.score) return a.score > b.score;
  return a.id < b.id;
}

double Gumbel(uint64_t seed, EntryId id) {
  const uint64_t bits = Mix64(Mix64(seed) ^ id) >> 12;
  return -std::log(-std::log((static_cast<double>(bits) + 0.5) * 0x1p-52));
}

}  // namespace

std::vector<Selected> Select(absl::Span<const double> scores, absl::Span<const EntryId> ids,
                             const SelectOptions& options) {
  if (scores.empty()) return {};
  const bool softmax = options.mode == SelectMode::kSoftmax;
  const double greatest = *std::max_element(scores.begin(), scores.end());
  std::vector<Candidate> pool(scores.size());
  for (size_t i = 0; i < pool.size(); ++i) {
    const double rank =
        softmax ? (scores[i] - greatest) / options.temperature + Gumbel(options.seed, ids[i]) : scores[i];
    pool[i] = {rank, scores[i], ids[i], i};
  }
  const auto probability_mass = [&](double score) { return std::exp((score - greatest) / options.temperature); };
  double total = 0.0;
  if (softmax) {  // by score: the sum is the same for any order of the pool
    std::vector<double> ordered(scores.begin(), scores.end());
    std::sort(ordered.begin(), ordered.end());
    for (const double score : ordered) total += probability_mass(score);
  }
  const size_t n = std::min(options.n, pool.size());
  std::partial_sort(pool.begin(), pool.begin() + static_cast<ptrdiff_t>(n), pool.end(), Before);
  std::vector<Selected> drawn(n);
  for (size_t i = 0; i < n; ++i) {
    const double probability = softmax ? probability_mass(pool[i].score) / total : (i == 0 ? 1.0 : 0.0);
    drawn[i] = {pool[i].row, pool[i].id, probability};
  }
  return drawn;
}

}  // namespace mneme
