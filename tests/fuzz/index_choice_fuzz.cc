// The index of a memory as a client spells it.
#include "common/index_choice.h"

#include "tests/fuzz/fuzz.h"

namespace mneme::fuzz {
namespace {

bool Run(std::string_view input) {
  Input in(input);
  const uint32_t dimension = 1 + in.Number<uint16_t>();
  const std::string_view text = in.Rest();
  const AllocationBound bound(4096 + 4 * text.size());
  const auto choice = ParseIndexChoice(text, dimension);
  if (!choice.ok()) {
    ExpectRefusal(choice.status(), {absl::StatusCode::kInvalidArgument}, {"index is \""});
    return false;
  }
  const std::string canonical = FormatIndexChoice(*choice);
  const auto again = ParseIndexChoice(canonical, dimension);
  Expect(again.ok() && *again == *choice && FormatIndexChoice(*again) == canonical,
         "the canonical spelling means the same choice");
  return true;
}

std::vector<std::string> Seeds() {
  std::vector<std::string> seeds;
  for (const char* text : {"", "auto", "flat", "f16", "int8", "pq:16", "pq:16x4", "rabitq:4", "pca:32", "opq:8",
                           "opq:8x4", "opq:8,pq:8", "Flat", "IVF4096,Flat", "IVF64,SQfp16", "IVF64,SQ8", "IVF64,PQ16",
                           "IVF64,PQ16x4fs", "IVF64,RaBitQ", "PCA32,IVF64,SQ8", "OPQ8,IVF64,PQ8"}) {
    seeds.push_back(std::string("\x3f\0", 2) + text);  // of 64 components
  }
  return seeds;
}

const Registration kTarget({"index_choice", Run, Seeds});

}  // namespace
}  // namespace mneme::fuzz
