// 1. Bytes follow from the files' own layout (docs/formats.md); what RocksDB adds to a row was measured.
// 2. Work is counted in multiply-adds and in bytes of codes, and priced at what one core of the machine of
//    docs/performance.md was measured to do ("The planner's constants" there; repeat with tests/system/plan_test.py).
#include "client/cli/plan_model.h"

#include <algorithm>
#include <cmath>

#include "common/limits.h"

namespace mneme::cli {
namespace {

// --- Layout: index/segment_format.h, index/codebook.cc, index/kernels ---

constexpr double kBlockRows = 32;           // of a block of codes; the last of each list is half empty
constexpr double kListBytes = 16;           // an offset and a norm
constexpr double kIdAndRowBytes = 8 + 8 + 4 + 8;  // id, row, place by row, time of creation
constexpr double kInverseNormBytes = 4;     // cosine
constexpr double kValueOffsetBytes = 8;     // values of no fixed width
constexpr uint32_t kInt8Dimension = 512;    // `auto` takes one bit a component beyond (index/codec.cc)
// ListsFor() of index/codebook.h.
constexpr double kListsPerRoot = 4;
constexpr double kLeastRowsPerList = 64;
constexpr double kTrainingRounds = 10;      // of k-means
constexpr double kLeastGroupedLists = 512;  // CentroidGroups::kMinCentroids

// --- Measured bytes ---

// What RocksDB adds to key and value of an entry: its own key twice (row, and row of id), header, checksum and filter.
constexpr double kStoreRowBytes = 61;
// A server after its start, beside what it maps: program, threads, gRPC, RocksDB with empty buffers.
constexpr double kServerRamBytes = 47e6;

// --- Measured speed of one core: fitted to 18 servers and six builds ("The planner's constants") ---

constexpr double kSecondsPerQuery = 2.8e-6;             // a 64th of a call
constexpr double kSecondsPerNeighbour = 6.9e-8;         // columns, answer
constexpr double kSecondsPerCentroidComponent = 2.3e-11;
constexpr double kSecondsPerCodeByte = 7.0e-11;         // the fast pass
constexpr double kSecondsPerKeyComponent = 1.74e-10;    // `flat`: keys themselves are the fast pass
constexpr double kSecondsPerRankedComponent = 3.7e-11;  // exact distance of a candidate
// All of it costs a tenth more for each doubling of the stored keys beyond what the caches hold.
constexpr double kCacheBytes = 4e6;
constexpr double kPerDoubling = 0.1;
constexpr double kBuildSeconds = 0.44;                  // however few the entries
constexpr double kTrainingPerMultiplyAdd = 2.0e-11;     // of a key and a centroid, or a centre of centroids
constexpr double kSecondsPerBuiltByte = 5.9e-8;         // of a key: read, sorted by list, written
constexpr double kSecondsPerCodedComponent = 4.4e-8;    // int8: scaled, rounded

// Lists probed for the default recall target of 0.95 at three k; between them a power of k, whatever the number of
// entries.
struct ProbePoint {
  double k;
  double probes;
};
constexpr ProbePoint kProbes[] = {{10, 24}, {100, 46}, {1024, 114}};
// Queries fall where rows are dense: a probed list is longer than the mean.
constexpr double kProbedListLength = 1.12;

double ProbesFor(double k) {
  const ProbePoint* from = k <= kProbes[1].k ? &kProbes[0] : &kProbes[1];
  const double slope = std::log(from[1].probes / from[0].probes) / std::log(from[1].k / from[0].k);
  return from[0].probes * std::pow(k / from[0].k, slope);
}

CodecChoice CodecOf(const PlanRequest& request) {
  if (request.index.codec.kind != CodecKind::kAuto) return request.index.codec;
  if (request.dimension <= kInt8Dimension) return {CodecKind::kInt8, 0, 0};
  return {CodecKind::kRabitq, 0, 1};
}

// Candidates that the codec leaves to exact distances, for k neighbours: the coarser it is, the more. Those of PQ and
// of several bits a component were not measured; they are taken to lie between int8 and one bit.
double RankedOf(const CodecChoice& codec, double k) {
  constexpr double kSpare = 50;
  switch (codec.kind) {
    case CodecKind::kAuto:
    case CodecKind::kFlat: return k;
    case CodecKind::kF16:
    case CodecKind::kInt8: return 1.3 * (k + kSpare);
    case CodecKind::kPca:
    case CodecKind::kPq:
    case CodecKind::kOpq: return 4 * (k + kSpare);
    case CodecKind::kRabitq: return 10 * (k + kSpare) / codec.bits;
  }
  return k;
}

double CodeBytes(const PlanRequest& request) {
  const double d = request.dimension;
  const double groups_of_four = std::ceil(d / 4);
  const CodecChoice codec = CodecOf(request);
  switch (codec.kind) {
    case CodecKind::kAuto:
    case CodecKind::kFlat: return 0;
    case CodecKind::kF16: return request.component_bytes == 2 ? 0 : 2 * d;
    case CodecKind::kInt8: return 4 * groups_of_four + 4;
    case CodecKind::kPq:
    case CodecKind::kOpq: return codec.bits == 4 ? codec.columns / 2.0 + 8 : codec.columns + 4.0;
    case CodecKind::kPca: return (codec.columns + 3) / 4 * 4 + 4.0;
    case CodecKind::kRabitq: return codec.bits * groups_of_four / 2 + 8;
  }
  return 0;
}

uint32_t ListsOf(const PlanRequest& request) {
  const auto n = static_cast<double>(request.entries);
  if (request.entries < limits::kFlatRows) return 0;
  return static_cast<uint32_t>(std::clamp(kListsPerRoot * std::sqrt(n), 1.0, n / kLeastRowsPerList));
}

void PlanBytes(const PlanRequest& request, Plan& plan) {
  const auto n = static_cast<double>(request.entries);
  const double key_bytes = static_cast<double>(request.component_bytes) * request.dimension;
  const double row_bytes = key_bytes + request.value_bytes;
  const double column_bytes = kIdAndRowBytes + request.value_bytes + (request.cosine ? kInverseNormBytes : 0) +
                              (request.variable_values ? kValueOffsetBytes : 0);
  plan.store_bytes = n * (row_bytes + kStoreRowBytes);
  double resident = n * (key_bytes + column_bytes);  // a tail holds the same columns
  double codes = 0;
  double centroids = 0;
  if (plan.lists != 0) {
    centroids = plan.lists * 4.0 * request.dimension;
    codes = (n + plan.lists * kBlockRows / 2) * plan.code_bytes_per_entry;
    plan.index_bytes = resident + codes + centroids + plan.lists * kListBytes;
    resident = plan.index_bytes + centroids;  // read from the file, then held aligned
  }
  const double segment_bytes = plan.index_bytes;
  plan.disk_bytes = plan.store_bytes + segment_bytes;
  plan.peak_disk_bytes = plan.disk_bytes + segment_bytes;
  plan.ram_bytes = kServerRamBytes + resident;
  plan.least_ram_bytes = plan.ram_bytes - (plan.code_bytes_per_entry > 0 && plan.lists != 0 ? n * key_bytes : 0);
}

// Centroids, and centres of groups of them, that a key is compared with (index/centroid_groups.h).
double ComparedWith(double lists) {
  if (lists < kLeastGroupedLists) return lists;
  const double groups = std::sqrt(lists);
  return groups + std::max(4.0, groups / 8) * groups;
}

double QuerySeconds(const PlanRequest& request, const Plan& plan) {
  const double n = static_cast<double>(request.entries);
  const double d = request.dimension;
  const double k = std::min<double>(request.k, n);
  double seconds = kSecondsPerQuery + k * kSecondsPerNeighbour;
  if (plan.code_bytes_per_entry > 0) {
    seconds += plan.rows_scanned * plan.code_bytes_per_entry * kSecondsPerCodeByte;
    seconds += std::min(plan.rows_scanned, RankedOf(CodecOf(request), k)) * d * kSecondsPerRankedComponent;
  } else {
    seconds += plan.rows_scanned * d * (plan.lists != 0 ? kSecondsPerKeyComponent : kSecondsPerCentroidComponent);
  }
  seconds += plan.lists * d * kSecondsPerCentroidComponent;
  const double doublings = std::log2(n * d * request.component_bytes / kCacheBytes);
  return seconds * (1 + kPerDoubling * std::max(0.0, doublings));
}

double BuildSeconds(const PlanRequest& request, const Plan& plan) {
  if (plan.lists == 0) return 0;
  const double n = static_cast<double>(request.entries);
  const double d = request.dimension;
  const double sample = plan.lists * static_cast<double>(limits::kTrainingRowsPerCentroid);
  const double assigned = kTrainingRounds * std::min(sample, n) + n;
  double seconds = kBuildSeconds + assigned * ComparedWith(plan.lists) * d * kTrainingPerMultiplyAdd;
  seconds += n * d * request.component_bytes * kSecondsPerBuiltByte;
  if (CodecOf(request).kind == CodecKind::kInt8) seconds += n * d * kSecondsPerCodedComponent;
  return seconds;
}

void PlanTime(const PlanRequest& request, Plan& plan) {
  const double n = static_cast<double>(request.entries);
  const double k = std::min<double>(request.k, n);
  plan.rows_scanned = n;
  if (plan.lists != 0) plan.rows_scanned = std::min(n, std::max(k, ProbesFor(k) * kProbedListLength * n / plan.lists));
  plan.build_seconds = BuildSeconds(request, plan);
  plan.queries_per_second = request.machine_cores / QuerySeconds(request, plan);
}

}  // namespace

Plan MakePlan(const PlanRequest& request) {
  Plan plan;
  plan.lists = ListsOf(request);
  if (plan.lists != 0 && request.index.lists != 0) plan.lists = request.index.lists;
  plan.code_bytes_per_entry = plan.lists != 0 ? CodeBytes(request) : 0;
  PlanBytes(request, plan);
  PlanTime(request, plan);
  const auto ram = static_cast<double>(request.machine_ram_bytes);
  plan.machines_for_ram = static_cast<uint64_t>(std::max(1.0, std::ceil(plan.ram_bytes / ram)));
  const double busy = std::ceil(request.wanted_queries_per_second / plan.queries_per_second);
  plan.machines = std::max(plan.machines_for_ram, static_cast<uint64_t>(std::max(1.0, busy)));
  return plan;
}

}  // namespace mneme::cli
