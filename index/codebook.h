// Codebook: one trained set of centroids and the codec of the rows in their lists, which segments share, with the
// measured relation of probes to recall, and of the codec's distances to exact ones.
#ifndef MNEME_INDEX_CODEBOOK_H_
#define MNEME_INDEX_CODEBOOK_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "index/codec.h"
#include "index/envelope.h"
#include "index/index_spec.h"

namespace mneme {

// What was trained elsewhere, borrowed.
struct GivenParts {
  // [lists x dimension] f32, lists >= 1: list i is that of row i. Cosine: brought to unit length, none being zero.
  absl::Span<const float> centroids;
  // Of `pq` alone: [M x 2^bits x dimension / M] f32; empty: trained on the sample.
  absl::Span<const float> subvectors;
};

// Immutable once trained. Thread-safe.
class Codebook {
 public:
  // Trains `lists` centroids by k-means (FAISS) on `sample` [count x dimension] f32, then the codec that `spec.index`
  // names. Deterministic in the sample. Cosine: spherical, on unit keys. Inner product: on the keys as they are.
  // Calibrates on a part that it holds out.
  // CANCELLED when `cancelled` (may be empty; asked now and then) says so.
  static absl::StatusOr<std::shared_ptr<Codebook>> Train(const IndexSpec& spec, uint64_t number,
                                                         absl::Span<const float> sample, uint32_t lists,
                                                         const std::function<bool()>& cancelled = {});
  // The same of what is given, with the sample for the rest: the codec, unless it is given, and the calibration.
  // INVALID_ARGUMENT when parts are not of these shapes.
  static absl::StatusOr<std::shared_ptr<Codebook>> TrainOn(const IndexSpec& spec, uint64_t number,
                                                           absl::Span<const float> sample, const GivenParts& given);
  // Centroids [lists x dimension] as they are and nothing else, for Assign() and Probe(): those of another codebook.
  static std::shared_ptr<const Codebook> OfCentroids(const IndexSpec& spec, absl::Span<const float> centroids);
  // DATA_LOSS when the file is missing or damaged.
  static absl::StatusOr<std::shared_ptr<Codebook>> Open(const std::string& path, const IndexSpec& spec,
                                                        const EnvelopeIdentity& identity);
  absl::Status Save(const std::string& path, const EnvelopeIdentity& identity) const;

  uint64_t number() const;
  uint32_t lists() const;
  const float* Centroid(uint32_t list) const;  // [dimension] f32
  // Null when lists are scanned by the stored keys themselves (`flat`).
  const Codec* codec() const;

  // The list of each of `count` keys [count x dimension] f32: that of the nearest centroid, or among many centroids of
  // one that is hardly farther (index/centroid_groups.h).
  void Assign(const float* keys, size_t count, uint32_t* lists) const;
  // The `probes` lists nearest to each query, nearest first: out [count x probes]; `costs` of the same shape, when not
  // null: the cost of query and centroid (L2: squared distance; else the negated product).
  void Probe(const float* queries, size_t count, size_t probes, uint32_t* out, float* costs = nullptr) const;

  // Probes needed so that recall@k reaches `target`, from the calibration that SetCalibration() stored (measured at
  // training on held-out keys); conservative between its points. All lists when nothing was measured.
  uint32_t ProbesFor(uint32_t k, double target) const;
  // One measured point: with `probes` lists, recall@k was `recall`.
  struct CalibrationPoint {
    uint32_t k = 0;
    uint32_t probes = 0;
    double recall = 0.0;
  };
  void SetCalibration(std::vector<CalibrationPoint> points);

  // How far above the k-th least of the codec's costs, c, the costs of the true k nearest reach, but for a share of
  // them that the recall target allows. In units of sqrt(c + mean_squared_residual()) (L2: the error grows with the
  // distance of query and row, and with that of the row and its centroid), of the query's norm (inner product), or of 1
  // (cosine).
  double CodeSlack(uint32_t k, double target) const;
  double mean_squared_residual() const;  // of keys to their centroids; 0 when a file of an older release does not say
  // The rows that the sample stood for: how many, and the end of their range. 0 when a file of an older release does
  // not say.
  struct TrainedRows {
    uint64_t count = 0;
    uint64_t end_row = 0;
  };
  TrainedRows trained_rows() const;
  void SetTrainedRows(const TrainedRows& rows);
  // One measured point: of the k nearest, `share` lay within `slack`.
  struct SlackPoint {
    uint32_t k = 0;
    uint32_t reserved = 0;
    double share = 0.0;
    double slack = 0.0;
  };

 private:
  struct State;
  explicit Codebook(std::unique_ptr<State> state);
  static absl::StatusOr<std::shared_ptr<Codebook>> Finish(std::unique_ptr<State> state,
                                                          absl::Span<const float> training,
                                                          absl::Span<const float> held_out,
                                                          absl::Span<const float> subvectors = {});
  static std::vector<float> Residuals(const Codebook& codebook, absl::Span<const float> keys);
  static absl::Status OpenCodecOf(const Envelope& file, State& state);

 public:
  ~Codebook();

 private:
  std::unique_ptr<State> state_;
};

// nlist for n rows: 4 sqrt(n), at least 64 rows a list for training.
uint32_t ListsFor(uint64_t rows);

}  // namespace mneme

#endif  // MNEME_INDEX_CODEBOOK_H_
