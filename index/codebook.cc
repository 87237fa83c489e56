#include "index/codebook.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/aligned_buffer.h"
#include "common/status_macros.h"
#include "index/calibration.h"
#include "index/centroid_groups.h"
#include "index/kernels/kth_smallest.h"
#include "index/kmeans.h"
#include "index/nearest_centroid.h"
#include "index/unit_rows.h"

namespace mneme {
namespace {

// Sections of a codebook file. Stored on disk: do not renumber.
enum CodebookSection : uint32_t {
  kMeta = 1,             // StoredMeta
  kCentroids = 2,        // f32 [lists x dimension]
  kCalibration = 3,      // CalibrationPoint
  kCodec = 4,            // StoredCodec; absent: flat
  kCodecParameters = 5,  // the codec's own bytes
  kSlack = 6,            // SlackPoint
  kTraining = 7,         // StoredTraining; absent: not known
};

struct StoredMeta {
  uint64_t number = 0;
  uint32_t lists = 0;
  uint32_t dimension = 0;
  uint32_t metric = 0;
  uint32_t reserved = 0;
};

struct StoredCodec {
  uint32_t kind = 0;
  uint32_t columns = 0;
  uint32_t bits = 0;
  uint32_t reserved = 0;
  double mean_squared_residual = 0.0;
};

struct StoredTraining {
  double mean_squared_residual = 0.0;
  uint64_t rows = 0;
  uint64_t end_row = 0;
};

// Residuals that a codec is trained on.
constexpr size_t kCodecSample = 32'768;
// Of the recall that a target gives away, the share that the codec may lose; probing loses the rest.
constexpr double kCodeShare = 0.1;
constexpr double kMostCodeShare = 0.999;
// Neighbours are nearer in the whole collection than in the sample that the slack was measured on, while the part of
// the error that comes from rounding the query stays.
constexpr double kSlackReserve = 1.3;

// Keys held out of the training to measure recall with.
constexpr size_t kHeldOut = 256;

// Text that the memory has not seen is harder still than the harder half of its keys: a recall of r is asked for as one
// that misses this share of 1 - r.
constexpr double kMissedShare = 0.4;

std::string_view AsBytes(const void* data, size_t bytes) { return {static_cast<const char*>(data), bytes}; }

// Sorts like (cost, list), as one integer: four times as fast as comparing through an index.
uint64_t ProbeKey(float cost, size_t list) {
  const uint32_t bits = std::bit_cast<uint32_t>(cost);
  const uint32_t ascending = (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
  return uint64_t{ascending} << 32 | list;
}

// Moves every (count / held)-th row of `sample` to `held_out`, the rest to `training`.
void HoldOut(absl::Span<const float> sample, size_t dimension, std::vector<float>& training,
             std::vector<float>& held_out) {
  const size_t count = sample.size() / dimension;
  const size_t stride = std::max<size_t>(8, (count + kHeldOut - 1) / kHeldOut);
  for (size_t row = 0; row < count; ++row) {
    std::vector<float>& target = row % stride == stride - 1 ? held_out : training;
    target.insert(target.end(), sample.begin() + static_cast<ptrdiff_t>(row * dimension),
                  sample.begin() + static_cast<ptrdiff_t>((row + 1) * dimension));
  }
}

}  // namespace

struct Codebook::State {
  IndexSpec spec;
  uint64_t number = 0;
  uint32_t lists = 0;
  AlignedBuffer centroids;  // [lists x dimension] f32
  std::vector<CalibrationPoint> calibration;  // ascending by (k, probes)
  std::unique_ptr<Codec> codec;               // may be null
  std::vector<SlackPoint> slack;              // ascending by (k, share)
  double mean_squared_residual = 0.0;
  TrainedRows trained_rows;
  std::once_flag grouped;                     // on the first Assign()
  std::optional<CentroidGroups> groups;       // of many lists

  CodecFrame Frame() const {
    return {spec, {centroids.as<float>(), size_t{lists} * spec.dimension}, mean_squared_residual};
  }

  // Keys join a list by Euclidean distance unless only their direction counts.
  CentroidShape AssignShape() const {
    return {spec.metric == Metric::kCosine ? Metric::kCosine : Metric::kL2, spec.dimension};
  }
  CentroidShape ProbeShape() const { return {spec.metric, spec.dimension}; }
};

Codebook::Codebook(std::unique_ptr<State> state) : state_(std::move(state)) {}
Codebook::~Codebook() = default;

uint64_t Codebook::number() const { return state_->number; }
uint32_t Codebook::lists() const { return state_->lists; }

std::shared_ptr<const Codebook> Codebook::OfCentroids(const IndexSpec& spec, absl::Span<const float> centroids) {
  auto state = std::make_unique<State>();
  state->spec = spec;
  state->lists = static_cast<uint32_t>(centroids.size() / spec.dimension);
  state->centroids.Append({reinterpret_cast<const char*>(centroids.data()), centroids.size() * sizeof(float)});
  return std::shared_ptr<const Codebook>(new Codebook(std::move(state)));
}

absl::StatusOr<std::shared_ptr<Codebook>> Codebook::Train(const IndexSpec& spec, uint64_t number,
                                                          absl::Span<const float> sample, uint32_t lists,
                                                          const std::function<bool()>& cancelled) {
  if (spec.dimension == 0 || sample.size() % spec.dimension != 0) {
    return absl::InvalidArgumentError(absl::StrCat("a sample of ", sample.size(), " components does not hold keys of ",
                                                   spec.dimension));
  }
  std::vector<float> training;
  std::vector<float> held_out;
  HoldOut(sample, spec.dimension, training, held_out);
  if (training.size() / spec.dimension < lists) {
    training.insert(training.end(), held_out.begin(), held_out.end());
    held_out.clear();
  }
  const bool unit = spec.metric == Metric::kCosine;
  if (unit) {
    Normalise(absl::MakeSpan(training), spec.dimension);
    Normalise(absl::MakeSpan(held_out), spec.dimension);
  }

  auto state = std::make_unique<State>();
  state->spec = spec;
  state->number = number;
  state->lists = lists;
  ASSIGN_OR_RETURN(state->centroids, TrainCentroids(training, spec.dimension, lists,
                                                    unit ? CentroidNorm::kUnit : CentroidNorm::kFree, cancelled));
  return Finish(std::move(state), training, held_out);
}

absl::StatusOr<std::shared_ptr<Codebook>> Codebook::TrainOn(const IndexSpec& spec, uint64_t number,
                                                            absl::Span<const float> sample,
                                                            const GivenParts& given) {
  const absl::Span<const float> centroids = given.centroids;
  for (const absl::Span<const float> rows : {sample, centroids}) {
    if (spec.dimension != 0 && !rows.empty() && rows.size() % spec.dimension == 0) continue;
    return absl::InvalidArgumentError(absl::StrCat("a sample or centroids of ", rows.size(),
                                                   " components do not hold rows of ", spec.dimension));
  }
  const CodecChoice& codec = spec.index.codec;
  if (!given.subvectors.empty() &&
      (codec.kind != CodecKind::kPq || given.subvectors.size() != size_t{spec.dimension} << codec.bits)) {
    return absl::InvalidArgumentError(
        absl::StrCat("sub-vectors of ", given.subvectors.size(), " components are not those of the codec"));
  }
  std::vector<float> training;
  std::vector<float> held_out;
  HoldOut(sample, spec.dimension, training, held_out);
  auto state = std::make_unique<State>();
  state->spec = spec;
  state->number = number;
  state->lists = static_cast<uint32_t>(centroids.size() / spec.dimension);
  state->centroids.Append(AsBytes(centroids.data(), centroids.size() * sizeof(float)));
  if (spec.metric == Metric::kCosine) {
    Normalise(absl::MakeSpan(training), spec.dimension);
    Normalise(absl::MakeSpan(held_out), spec.dimension);
    Normalise({state->centroids.as<float>(), centroids.size()}, spec.dimension);
  }
  return Finish(std::move(state), training, held_out, given.subvectors);
}

absl::StatusOr<std::shared_ptr<Codebook>> Codebook::Finish(std::unique_ptr<State> state,
                                                           absl::Span<const float> training,
                                                           absl::Span<const float> held_out,
                                                           absl::Span<const float> subvectors) {
  const IndexSpec spec = state->spec;
  std::shared_ptr<Codebook> codebook(new Codebook(std::move(state)));
  codebook->SetCalibration(CalibrateProbes(*codebook, spec, training, held_out));
  State& trained = *codebook->state_;
  const CodecChoice choice = ResolveCodec(spec.index.codec, spec);
  const std::vector<float> residuals = Residuals(*codebook, training);
  double squares = 0.0;
  for (const float component : residuals) squares += double{component} * component;
  trained.mean_squared_residual = squares * spec.dimension / static_cast<double>(std::max<size_t>(1, residuals.size()));
  ASSIGN_OR_RETURN(trained.codec,
                   subvectors.empty()
                       ? TrainCodec(choice, trained.Frame(), residuals)
                       : OpenCodec(choice, trained.Frame(),
                                   AsBytes(subvectors.data(), subvectors.size() * sizeof(float))));
  trained.slack = CalibrateCodes(*codebook, spec, training, held_out);
  // Nothing was left to measure the codes on: what they say cannot be used.
  if (trained.slack.empty()) trained.codec.reset();
  return codebook;
}

std::vector<float> Codebook::Residuals(const Codebook& codebook, absl::Span<const float> keys) {
  const size_t d = codebook.state_->spec.dimension;
  const size_t total = keys.size() / d;
  const size_t count = std::min(total, kCodecSample);
  std::vector<float> residuals(count * d);
  for (size_t i = 0; i < count; ++i) {
    const float* key = keys.data() + i * total / count * d;
    std::copy(key, key + d, residuals.begin() + static_cast<ptrdiff_t>(i * d));
  }
  std::vector<uint32_t> lists(count);
  codebook.Assign(residuals.data(), count, lists.data());
  for (size_t i = 0; i < count; ++i) {
    const float* centroid = codebook.Centroid(lists[i]);
    for (size_t c = 0; c < d; ++c) residuals[i * d + c] -= centroid[c];
  }
  return residuals;
}

const float* Codebook::Centroid(uint32_t list) const {
  return state_->centroids.as<float>() + size_t{list} * state_->spec.dimension;
}
const Codec* Codebook::codec() const { return state_->codec.get(); }
double Codebook::mean_squared_residual() const { return state_->mean_squared_residual; }
Codebook::TrainedRows Codebook::trained_rows() const { return state_->trained_rows; }
void Codebook::SetTrainedRows(const TrainedRows& rows) { state_->trained_rows = rows; }

double Codebook::CodeSlack(uint32_t k, double target) const {
  const std::vector<SlackPoint>& points = state_->slack;
  if (points.empty()) return 0.0;  // there is no codec
  // The more are wanted, the less of them lie near the edge: the next smaller measured k errs on the safe side.
  uint32_t depth = points.front().k;
  for (const SlackPoint& point : points) {
    if (point.k <= k) depth = point.k;
  }
  const double required = std::min(kMostCodeShare, 1.0 - (1.0 - target) * kCodeShare);
  for (const SlackPoint& point : points) {
    if (point.k == depth && point.share >= required) return kSlackReserve * point.slack;
  }
  return kSlackReserve * points.back().slack;
}

void Codebook::Assign(const float* keys, size_t count, uint32_t* lists) const {
  if (state_->lists < CentroidGroups::kMinCentroids) {
    NearestCentroids(state_->AssignShape(), keys, count, state_->centroids.as<float>(), state_->lists, lists, nullptr);
    return;
  }
  std::call_once(state_->grouped, [this] {
    state_->groups.emplace(state_->AssignShape(), state_->centroids.as<float>(), state_->lists);
  });
  state_->groups->Assign(keys, count, lists, nullptr);
}

void Codebook::Probe(const float* queries, size_t count, size_t probes, uint32_t* out, float* out_costs) const {
  // A few queries at a time, so that the costs of one group stay in the cache.
  constexpr size_t kGroup = 8;
  const size_t lists = state_->lists;
  probes = std::min(probes, lists);
  std::vector<float> costs(kGroup * lists);
  std::vector<uint64_t> order(lists);
  for (size_t first = 0; first < count; first += kGroup) {
    const size_t taken = std::min(kGroup, count - first);
    CentroidCosts(state_->ProbeShape(), queries + first * state_->spec.dimension, taken,
                  state_->centroids.as<float>(), lists, costs.data());
    for (size_t q = 0; q < taken; ++q) {
      const float* own = costs.data() + q * lists;
      const float last = KthSmallest(own, lists, probes);
      size_t within = 0;
      for (size_t list = 0; list < lists; ++list) {
        order[within] = ProbeKey(own[list], list);
        within += own[list] <= last ? 1 : 0;
      }
      std::sort(order.begin(), order.begin() + static_cast<ptrdiff_t>(within));
      for (size_t i = 0; i < probes; ++i) {
        const uint32_t list = static_cast<uint32_t>(order[i]);
        out[(first + q) * probes + i] = list;
        if (out_costs != nullptr) out_costs[(first + q) * probes + i] = own[list];
      }
    }
  }
}

uint32_t Codebook::ProbesFor(uint32_t k, double target) const {
  const std::vector<CalibrationPoint>& points = state_->calibration;
  if (points.empty() || target >= 1.0) return state_->lists;
  // The curve of the next measured k at or above the wanted one; beyond the last, probes grow with k.
  uint32_t depth = points.back().k;
  for (const CalibrationPoint& point : points) {
    if (point.k >= k) {
      depth = point.k;
      break;
    }
  }
  const double required = 1.0 - (1.0 - target) * kMissedShare;
  for (const CalibrationPoint& point : points) {
    if (point.k != depth || point.recall < required) continue;
    const double beyond = std::max(1.0, static_cast<double>(k) / depth);
    return static_cast<uint32_t>(std::min<double>(std::ceil(point.probes * beyond), state_->lists));
  }
  return state_->lists;
}

void Codebook::SetCalibration(std::vector<CalibrationPoint> points) {
  std::sort(points.begin(), points.end(), [](const CalibrationPoint& a, const CalibrationPoint& b) {
    return a.k != b.k ? a.k < b.k : a.probes < b.probes;
  });
  state_->calibration = std::move(points);
}

absl::Status Codebook::Save(const std::string& path, const EnvelopeIdentity& identity) const {
  ASSIGN_OR_RETURN(std::unique_ptr<EnvelopeWriter> writer,
                   EnvelopeWriter::New(path, EnvelopeKind::kCodebook, identity));
  const StoredMeta meta{state_->number, state_->lists, state_->spec.dimension,
                        static_cast<uint32_t>(state_->spec.metric), 0};
  RETURN_IF_ERROR(writer->AddSection(kMeta, AsBytes(&meta, sizeof(meta))));
  RETURN_IF_ERROR(writer->AddSection(kCentroids, state_->centroids.view()));
  RETURN_IF_ERROR(writer->AddSection(
      kCalibration, AsBytes(state_->calibration.data(), state_->calibration.size() * sizeof(CalibrationPoint))));
  if (state_->codec != nullptr) {
    const CodecChoice choice = state_->codec->choice();
    const StoredCodec codec{static_cast<uint32_t>(choice.kind), choice.columns, choice.bits, 0,
                            state_->mean_squared_residual};
    RETURN_IF_ERROR(writer->AddSection(kCodec, AsBytes(&codec, sizeof(codec))));
    RETURN_IF_ERROR(writer->AddSection(kCodecParameters, state_->codec->Parameters()));
    RETURN_IF_ERROR(
        writer->AddSection(kSlack, AsBytes(state_->slack.data(), state_->slack.size() * sizeof(SlackPoint))));
  }
  if (state_->mean_squared_residual > 0.0) {
    const TrainedRows& rows = state_->trained_rows;
    const StoredTraining training{state_->mean_squared_residual, rows.count, rows.end_row};
    RETURN_IF_ERROR(writer->AddSection(kTraining, AsBytes(&training, sizeof(training))));
  }
  return writer->Finish().status();
}

absl::Status Codebook::OpenCodecOf(const Envelope& file, State& state) {
  const std::string_view stored = file.Section(kCodec);
  if (stored.empty()) return absl::OkStatus();
  const std::string_view slack = file.Section(kSlack);
  StoredCodec codec;
  if (stored.size() != sizeof(codec) || slack.size() % sizeof(SlackPoint) != 0) {
    return absl::DataLossError("the sections of its codec do not fit together");
  }
  std::memcpy(&codec, stored.data(), sizeof(codec));
  const CodecChoice choice{static_cast<CodecKind>(codec.kind), codec.columns, codec.bits};
  state.mean_squared_residual = codec.mean_squared_residual;
  ASSIGN_OR_RETURN(state.codec, OpenCodec(choice, state.Frame(), file.Section(kCodecParameters)));
  state.slack.resize(slack.size() / sizeof(SlackPoint));
  if (slack.empty()) return absl::DataLossError("its codec has no slack");
  std::memcpy(state.slack.data(), slack.data(), slack.size());
  for (const SlackPoint& point : state.slack) {
    if (!(point.slack >= 0.0)) return absl::DataLossError(absl::StrCat("its codec has a slack of ", point.slack));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<Codebook>> Codebook::Open(const std::string& path, const IndexSpec& spec,
                                                         const EnvelopeIdentity& identity) {
  ASSIGN_OR_RETURN(std::unique_ptr<Envelope> file, Envelope::Open(path, EnvelopeKind::kCodebook, identity));
  const std::string_view meta_bytes = file->Section(kMeta);
  const std::string_view centroids = file->Section(kCentroids);
  const std::string_view calibration = file->Section(kCalibration);
  StoredMeta meta;
  if (meta_bytes.size() != sizeof(meta)) return absl::DataLossError(absl::StrCat(path, ": has no codebook in it"));
  std::memcpy(&meta, meta_bytes.data(), sizeof(meta));
  if (meta.dimension != spec.dimension || meta.metric != static_cast<uint32_t>(spec.metric)) {
    return absl::DataLossError(absl::StrCat(path, ": dimension is ", meta.dimension, " and metric ", meta.metric,
                                            "; must be ", spec.dimension, " and ",
                                            static_cast<uint32_t>(spec.metric)));
  }
  if (meta.lists == 0 || centroids.size() != size_t{meta.lists} * meta.dimension * sizeof(float) ||
      calibration.size() % sizeof(CalibrationPoint) != 0) {
    return absl::DataLossError(absl::StrCat(path, ": its sections do not fit together"));
  }
  auto state = std::make_unique<State>();
  state->spec = spec;
  state->number = meta.number;
  state->lists = meta.lists;
  state->centroids.Append(centroids);
  if (const std::string_view stored = file->Section(kTraining); !stored.empty()) {
    StoredTraining training;
    if (stored.size() != sizeof(training)) {
      return absl::DataLossError(absl::StrCat(path, ": its sections do not fit together"));
    }
    std::memcpy(&training, stored.data(), sizeof(training));
    state->mean_squared_residual = training.mean_squared_residual;
    state->trained_rows = {training.rows, training.end_row};
  }
  if (const absl::Status status = OpenCodecOf(*file, *state); !status.ok()) {
    return absl::DataLossError(absl::StrCat(path, ": ", status.message()));
  }
  std::vector<CalibrationPoint> points(calibration.size() / sizeof(CalibrationPoint));
  if (!points.empty()) std::memcpy(points.data(), calibration.data(), calibration.size());
  for (const CalibrationPoint& point : points) {
    if (point.k == 0 || point.probes == 0) {
      return absl::DataLossError(absl::StrCat(path, ": its calibration has a point of no neighbours or no probes"));
    }
  }
  std::shared_ptr<Codebook> codebook(new Codebook(std::move(state)));
  codebook->SetCalibration(std::move(points));
  return codebook;
}

uint32_t ListsFor(uint64_t rows) {
  // More lists scan fewer rows for the same recall but cost more to probe and train; below 64 rows a list k-means
  // only follows noise.
  const double wanted = 4.0 * std::sqrt(static_cast<double>(rows));
  return static_cast<uint32_t>(std::max<uint64_t>(1, std::min<uint64_t>(static_cast<uint64_t>(wanted), rows / 64)));
}

}  // namespace mneme
