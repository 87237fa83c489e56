#include "tests/fuzz/fuzz.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "absl/strings/str_cat.h"

extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*malloc_hook)(const volatile void*, size_t),
                                                         void (*free_hook)(const volatile void*))
    __attribute__((weak));

namespace mneme::fuzz {
namespace {

std::vector<Target>& MutableTargets() {
  static std::vector<Target> targets;
  return targets;
}

std::atomic<size_t> bound{SIZE_MAX};

void OnMalloc(const volatile void*, size_t size) {
  if (size <= bound.load(std::memory_order_relaxed)) return;
  const size_t allowed = bound.exchange(SIZE_MAX);
  std::fprintf(stderr, "an allocation of %zu bytes; allowed are %zu\n", size, allowed);
  std::abort();
}
void OnFree(const volatile void*) {}

class Scratch {
 public:
  Scratch() {
    std::error_code error;
    const bool ram = ::access("/dev/shm", W_OK) == 0;
    path_ = absl::StrCat(ram ? "/dev/shm" : std::filesystem::temp_directory_path(error).string(), "/mneme_fuzz_XXXXXX");
    Expect(::mkdtemp(path_.data()) != nullptr, "a scratch directory can be made");
  }
  ~Scratch() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace

Registration::Registration(const Target& target) { MutableTargets().push_back(target); }
const std::vector<Target>& Targets() { return MutableTargets(); }

void Expect(bool holds, std::string_view what, const char* file, int line) {
  if (holds) return;
  std::fprintf(stderr, "%s:%d: does not hold: %.*s\n", file, line, static_cast<int>(what.size()), what.data());
  std::abort();
}

void ExpectRefusal(const absl::Status& status, std::initializer_list<absl::StatusCode> codes,
                   std::initializer_list<std::string_view> words, const char* file, int line) {
  const bool code = std::find(codes.begin(), codes.end(), status.code()) != codes.end();
  const std::string message(status.message());
  const bool word = std::any_of(words.begin(), words.end(), [&](std::string_view each) {
    return message.find(each) != std::string::npos;
  });
  if (code && word) return;
  Expect(false, absl::StrCat("an error of a documented kind that names what is wrong; it is ", status.ToString()), file,
         line);
}

AllocationBound::AllocationBound(size_t bytes) {
  static const int installed = __sanitizer_install_malloc_and_free_hooks == nullptr
                                   ? 0
                                   : __sanitizer_install_malloc_and_free_hooks(OnMalloc, OnFree);
  static_cast<void>(installed);
  bound = bytes;
}

AllocationBound::~AllocationBound() { bound = SIZE_MAX; }

std::string FileOf(std::string_view bytes) {
  static const int file = ::memfd_create("mneme_fuzz", MFD_CLOEXEC);
  // Nobody else may write it, as some that read it ask for.
  Expect(file >= 0 && ::ftruncate(file, 0) == 0 && ::fchmod(file, 0600) == 0, "a file in ram can be made");
  const ssize_t written = ::pwrite(file, bytes.data(), bytes.size(), 0);
  Expect(written == static_cast<ssize_t>(bytes.size()), "a file in ram can be written");
  return absl::StrCat("/proc/self/fd/", file);
}

const std::string& ScratchDirectory() {
  static const Scratch scratch;
  return scratch.path();
}

}  // namespace mneme::fuzz
