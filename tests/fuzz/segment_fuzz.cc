// Segment files behind a whole envelope: u8 which memory | sections (index_file.h).
#include "index/segment.h"

#include <memory>

#include "common/vector_codec.h"
#include "index/segment_format.h"
#include "tests/fuzz/index_file.h"

namespace mneme::fuzz {
namespace {

constexpr uint32_t kDimension = 4;

IndexSpec SpecOf(uint8_t which) {
  IndexSpec spec;
  spec.dimension = kDimension;
  spec.metric = static_cast<Metric>(1 + which % 3);
  spec.key_dtype = which / 3 % 2 == 0 ? Dtype::kF32 : Dtype::kF16;
  spec.value_bytes = which / 6 % 2 == 0 ? 4 : 0;
  spec.index.codec.kind = CodecKind::kInt8;
  return spec;
}

void LookAt(const Segment& segment, const IndexSpec& spec) {
  const RowBlock all = segment.All();
  Expect(all.count == segment.rows() && segment.rows() <= segment.end_row() - segment.first_row(), "rows are counted");
  size_t sum = 0;
  size_t in_lists = 0;
  for (uint32_t list = 0; list < segment.lists(); ++list) {
    const RowBlock block = segment.List(list);
    in_lists += block.count;
    const char* codes = segment.Codes(list);
    const size_t blocks = (block.count + kCodeBlockRows - 1) / kCodeBlockRows;
    for (size_t i = 0; codes != nullptr && i < blocks * segment.code_block_bytes(); ++i) {
      sum += static_cast<uint8_t>(codes[i]);
    }
  }
  Expect(in_lists == all.count, "every row is in one list");
  for (size_t i = 0; i < all.count; ++i) {
    const Row row = all.RowAt(i);
    Expect(row >= segment.first_row() && row < segment.end_row(), "a row lies within bounds");
    Expect(segment.PositionOf(row) == i, "a row is found where it lies");
    Expect(segment.ListAt(i) < segment.lists(), "a row has a list");
    for (const char byte : std::string_view(all.keys + i * spec.KeyBytes(), spec.KeyBytes())) {
      sum += static_cast<uint8_t>(byte);
    }
    for (const char byte : all.ValueAt(i, spec.value_bytes)) sum += static_cast<uint8_t>(byte);
    static_cast<void>(all.AttributesAt(i));
    sum += all.ids[i] & 1;
    if (spec.metric == Metric::kCosine) sum += all.inverse_norms[i] > 0.0F ? 1 : 0;
  }
  for (const auto order : {segment.ByLabel(), segment.BySource(), segment.ById()}) {
    for (const uint32_t position : order) Expect(position < all.count, "an order names positions");
  }
  Expect(sum < SIZE_MAX, "every byte was read");
}

bool Run(std::string_view input) {
  Input in(input);
  const IndexSpec spec = SpecOf(in.Byte());
  const std::string path = WriteIndexFile(EnvelopeKind::kSegment, in);
  absl::StatusOr<std::shared_ptr<const Segment>> segment;
  {
    const AllocationBound bound(64 * 1024 + 4 * input.size());
    segment = Segment::Open(path, spec, kIdentity);
  }
  if (!segment.ok()) {
    ExpectRefusal(segment.status(), {absl::StatusCode::kDataLoss}, {path});
    return false;
  }
  LookAt(**segment, spec);
  return true;
}

EntryColumns Entries(const IndexSpec& spec, size_t count, bool plain) {
  EntryColumns entries;
  entries.values.width = spec.value_bytes;
  for (size_t i = 0; i < count; ++i) {
    const float key[kDimension] = {static_cast<float>(i % 7), 1.0F, static_cast<float>(i % 3), -0.5F};
    std::string packed(spec.KeyBytes(), '\0');
    EncodeVector(spec.key_dtype, key, kDimension, packed.data());
    EntryView entry;
    entry.id = 1000 - i;
    entry.key = packed;
    entry.value = std::string_view("abcdefgh").substr(0, spec.value_bytes != 0 ? 4 : i % 8);
    if (!plain) entry.attributes = {1.5F, 0.5, static_cast<int64_t>(i % 3) - 1, i % 4, i, 77, 78};
    entries.Append(entry);
  }
  return entries;
}

std::string Seed(uint8_t which, bool plain) {
  const IndexSpec spec = SpecOf(which);
  const EntryColumns entries = Entries(spec, 70, plain);
  std::vector<float> sample(entries.count * kDimension);
  DecodeVector(spec.key_dtype, entries.keys.data(), sample.size(), sample.data());
  const auto codebook = Codebook::Train(spec, 7, sample, 3);
  Expect(codebook.ok(), "a codebook can be trained");
  const std::string path = ScratchDirectory() + "/segment";
  SegmentBuilder builder(spec, *codebook, 100, 100 + entries.count);
  for (size_t i = 0; i < entries.count; ++i) builder.Add(100 + i, entries.At(i));
  Expect(builder.Begin(path, kIdentity).ok(), "a segment can be begun");
  for (size_t i = 0; i < entries.count; ++i) builder.Place(100 + i, entries.At(i));
  Expect(builder.Finish({}).ok(), "a segment can be finished");
  return std::string(1, static_cast<char>(which)) + SectionsOf(path, EnvelopeKind::kSegment);
}

std::vector<std::string> Seeds() {
  std::vector<std::string> seeds;
  for (uint8_t which = 0; which < 12; ++which) seeds.push_back(Seed(which, which % 2 == 0));
  return seeds;
}

const Registration kTarget({"segment", Run, Seeds});

}  // namespace
}  // namespace mneme::fuzz
