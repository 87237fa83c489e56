// Codebook files behind a whole envelope: u8 which memory | sections (index_file.h). What was opened can be used.
#include "index/codebook.h"

#include <cmath>
#include <memory>

#include "tests/fuzz/index_file.h"

namespace mneme::fuzz {
namespace {

constexpr uint32_t kDimension = 8;
constexpr size_t kQueries = 2;

IndexSpec SpecOf(uint8_t which) {
  IndexSpec spec;
  spec.dimension = kDimension;
  spec.metric = static_cast<Metric>(1 + which % 3);
  spec.value_bytes = 4;
  return spec;
}

// Codes a block of rows and scans it.
void Scan(const Codebook& codebook, const std::vector<float>& keys) {
  const Codec& codec = *codebook.codec();
  Expect(codec.block_bytes() > 0 && codec.block_bytes() <= 64 * kCodeBlockRows * (kDimension + 16),
         "a code is about as large as a key");
  std::vector<char> storage(codec.block_bytes() + 64);
  char* block = storage.data() + (64 - reinterpret_cast<uintptr_t>(storage.data()) % 64) % 64;
  const size_t rows = keys.size() / kDimension;
  codec.Encode(codebook.Centroid(0), keys.data(), rows, block);
  const auto prepared = codec.Prepare(keys.data(), kQueries);
  std::vector<float> costs(kQueries * kCodeBlockRows);
  std::vector<uint32_t> found(kQueries * kCodeBlockRows);
  CodeHits hits[kQueries];
  for (size_t query = 0; query < kQueries; ++query) {
    hits[query] = {costs.data() + query * kCodeBlockRows, found.data() + query * kCodeBlockRows, 0};
  }
  const uint32_t queries[kQueries] = {0, 1};
  const float bases[kQueries] = {0.0F, 0.0F};
  const float cuts[kQueries] = {INFINITY, INFINITY};
  prepared->Scan(queries, bases, cuts, block, rows, hits);
  for (const CodeHits& hit : hits) {
    Expect(hit.count <= rows, "no more rows are hit than there are");
    for (size_t i = 0; i < hit.count; ++i) Expect(hit.rows[i] < rows, "a row that is there is hit");
  }
}

void Use(const Codebook& codebook) {
  std::vector<float> keys(3 * kDimension);
  for (size_t i = 0; i < keys.size(); ++i) keys[i] = 0.25F * static_cast<float>(i % 5) - 0.5F;
  const size_t lists = codebook.lists();
  std::vector<uint32_t> assigned(3);
  codebook.Assign(keys.data(), 3, assigned.data());
  for (const uint32_t list : assigned) Expect(list < lists, "a key has a list");
  const size_t probes = std::min<size_t>(2, lists);
  std::vector<uint32_t> probed(kQueries * probes);
  codebook.Probe(keys.data(), kQueries, probes, probed.data());
  for (const uint32_t list : probed) Expect(list < lists, "a list that is there is probed");
  for (const uint32_t k : {1U, 10U, 4096U}) {
    for (const double target : {0.5, 0.95, 1.0}) {
      const uint32_t wanted = codebook.ProbesFor(k, target);
      Expect(wanted >= 1 && wanted <= lists, "a target asks for some of the lists");
      Expect(codebook.CodeSlack(k, target) >= 0.0, "a slack is a number");
    }
  }
  if (codebook.codec() != nullptr) Scan(codebook, keys);
}

bool Run(std::string_view input) {
  Input in(input);
  const IndexSpec spec = SpecOf(in.Byte());
  const std::string path = WriteIndexFile(EnvelopeKind::kCodebook, in);
  absl::StatusOr<std::shared_ptr<Codebook>> codebook;
  {
    const AllocationBound bound(256 * 1024 + 16 * input.size());
    codebook = Codebook::Open(path, spec, kIdentity);
  }
  if (!codebook.ok()) {
    ExpectRefusal(codebook.status(), {absl::StatusCode::kDataLoss}, {path});
    return false;
  }
  Use(**codebook);
  const std::string again = ScratchDirectory() + "/again";
  Expect((*codebook)->Save(again, kIdentity).ok(), "what was opened can be saved");
  const auto reopened = Codebook::Open(again, spec, kIdentity);
  Expect(reopened.ok() && (*reopened)->lists() == (*codebook)->lists() &&
             std::memcmp((*reopened)->Centroid(0), (*codebook)->Centroid(0),
                         size_t{(*codebook)->lists()} * kDimension * sizeof(float)) == 0,
         "what was saved is what was opened");
  return true;
}

std::string Seed(uint8_t which, const CodecChoice& codec) {
  IndexSpec spec = SpecOf(which);
  spec.index.codec = codec;
  std::vector<float> sample(size_t{400} * kDimension);
  uint64_t state = 1;
  for (float& component : sample) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    component = static_cast<float>(state >> 40) / static_cast<float>(1 << 24) - 0.5F;
  }
  const auto codebook = Codebook::Train(spec, 7, sample, 4);
  Expect(codebook.ok(), "a codebook can be trained");
  (*codebook)->SetTrainedRows({400, 400});
  const std::string path = ScratchDirectory() + "/codebook";
  Expect((*codebook)->Save(path, kIdentity).ok(), "a codebook can be saved");
  return std::string(1, static_cast<char>(which)) + SectionsOf(path, EnvelopeKind::kCodebook);
}

std::vector<std::string> Seeds() {
  std::vector<std::string> seeds;
  const CodecChoice codecs[] = {{CodecKind::kFlat, 0, 0}, {CodecKind::kF16, 0, 0},    {CodecKind::kInt8, 0, 0},
                                {CodecKind::kPq, 4, 4},   {CodecKind::kRabitq, 0, 2}, {CodecKind::kPca, 4, 0},
                                {CodecKind::kOpq, 4, 4}};
  uint8_t which = 0;
  for (const CodecChoice& codec : codecs) seeds.push_back(Seed(which++ % 3, codec));
  seeds.push_back(Seed(0, {CodecKind::kRabitq, 0, 1}));
  return seeds;
}

const Registration kTarget({"codebook", Run, Seeds});

}  // namespace
}  // namespace mneme::fuzz
