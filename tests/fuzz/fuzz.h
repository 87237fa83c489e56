// Fuzz targets: each feeds arbitrary bytes to the decoders of one kind of bytes that come from a client, from another
// process or from disk, and ends the process when what holds of them does not.
//
// A target lives in NAME_fuzz.cc: a function that takes an input, a function that makes inputs from real encoders, and
// a Registration. libFuzzer drives one target a program (libfuzzer_main.cc, preset "fuzz"); in every other build one
// program holds all of them and feeds them their corpora (replay.cc).
#ifndef MNEME_TESTS_FUZZ_FUZZ_H_
#define MNEME_TESTS_FUZZ_FUZZ_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace mneme::fuzz {

struct Target {
  const char* name;
  // True when the input was taken, false when it was refused.
  bool (*run)(std::string_view input);
  // Inputs that are taken.
  std::vector<std::string> (*seeds)();
};

class Registration {
 public:
  explicit Registration(const Target& target);
};
const std::vector<Target>& Targets();

// Ends the process, naming the line, unless `holds`.
void Expect(bool holds, std::string_view what, const char* file = __builtin_FILE(), int line = __builtin_LINE());

// A refusal has one of these codes, and a message that has one of `words` in it.
void ExpectRefusal(const absl::Status& status, std::initializer_list<absl::StatusCode> codes,
                   std::initializer_list<std::string_view> words, const char* file = __builtin_FILE(),
                   int line = __builtin_LINE());

// While it lives, an allocation of more than `bytes` ends the process. It sees allocations where a sanitizer's
// allocator is linked in, and else none. One at a time.
class AllocationBound {
 public:
  explicit AllocationBound(size_t bytes);
  ~AllocationBound();
  AllocationBound(const AllocationBound&) = delete;
  AllocationBound& operator=(const AllocationBound&) = delete;
};

// Takes an input apart. Past its end everything is zero or empty. Not thread-safe.
class Input {
 public:
  explicit Input(std::string_view bytes) : rest_(bytes) {}

  template <typename T>
  T Number() {
    T value{};
    const std::string_view bytes = Bytes(sizeof(T));
    if (!bytes.empty()) std::memcpy(&value, bytes.data(), bytes.size());
    return value;
  }
  uint8_t Byte() { return Number<uint8_t>(); }
  std::string_view Bytes(size_t size) {
    const std::string_view bytes = rest_.substr(0, size);
    rest_.remove_prefix(bytes.size());
    return bytes;
  }
  std::string_view Rest() const { return rest_; }
  bool empty() const { return rest_.empty(); }

 private:
  std::string_view rest_;
};

// What was decoded is encoded to the bytes that it came from, or was refused with one of `codes` and one of `words`.
template <typename T, typename Encode>
bool Through(const absl::StatusOr<T>& decoded, std::string_view bytes, const Encode& encode,
             std::initializer_list<absl::StatusCode> codes, std::initializer_list<std::string_view> words,
             const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  if (!decoded.ok()) {
    ExpectRefusal(decoded.status(), codes, words, file, line);
    return false;
  }
  Expect(encode(*decoded) == bytes, "what was decoded encodes to the same bytes", file, line);
  return true;
}

// A file in ram that holds `bytes`, and its name. One at a time; it lasts until the next.
std::string FileOf(std::string_view bytes);
// A directory in ram where there is one, that goes when the process ends.
const std::string& ScratchDirectory();

}  // namespace mneme::fuzz

#endif  // MNEME_TESTS_FUZZ_FUZZ_H_
