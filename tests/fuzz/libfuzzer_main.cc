// What libFuzzer calls: the one target of the program.
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  mneme::fuzz::Targets().front().run({reinterpret_cast<const char*>(data), size});
  return 0;
}
