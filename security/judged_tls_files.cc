// Files are read, and texts are published, under the lock of those of their names: who watches the same files waits for
// that, so that no older text comes after a newer one.
#include "security/judged_tls_files.h"

#include <fcntl.h>
#include <grpc/support/log.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace mneme {
namespace {

// Some small files are read as often. gRPC looks every kTlsRefreshSeconds, so that what is new holds soon after these.
constexpr std::chrono::milliseconds kLookEvery{250};

using Texts = std::vector<std::string>;

absl::Status CannotBePublished(const char* call) {
  return absl::UnavailableError(
      absl::StrCat("TLS files cannot be held in memory: ", call, ": ", std::strerror(errno)));
}

absl::Status WriteAll(int file, const std::string& text) {
  for (size_t at = 0; at < text.size();) {
    const ssize_t wrote = write(file, text.data() + at, text.size() - at);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return CannotBePublished("write");
    at += static_cast<size_t>(wrote);
  }
  return absl::OkStatus();
}

// A text that others read by a path, whole, while it is put anew. Its number is never closed: another file would have
// it next, and gRPC read that. Not thread-safe, but for who reads by the path.
class TextInMemory {
 public:
  // On an error the text is what it was.
  absl::Status Put(const std::string& text) {
    const int fresh = memfd_create("mneme-tls", MFD_CLOEXEC);
    if (fresh < 0) return CannotBePublished("memfd_create");
    absl::Cleanup closes = [fresh] { close(fresh); };
    RETURN_IF_ERROR(WriteAll(fresh, text));
    // Another second for each text, whatever the clock says: gRPC counts whole ones, and takes 0 for an error.
    const std::timespec stamp = {++puts_, 0};
    const std::timespec stamps[2] = {stamp, stamp};
    if (futimens(fresh, stamps) != 0) return CannotBePublished("futimens");
    if (number_ >= 0) {
      if (dup3(fresh, number_, O_CLOEXEC) < 0) return CannotBePublished("dup3");
      return absl::OkStatus();
    }
    const std::string path = absl::StrCat("/proc/self/fd/", fresh);
    if (access(path.c_str(), R_OK) != 0) return CannotBePublished(path.c_str());
    number_ = fresh;
    path_ = path;
    std::move(closes).Cancel();
    return absl::OkStatus();
  }

  const std::string& path() const { return path_; }

 private:
  int number_ = -1;  // none yet
  std::string path_;
  time_t puts_ = 0;
};

absl::StatusOr<Texts> ReadAll(const std::vector<std::string>& paths) {
  Texts texts;
  for (const std::string& path : paths) {
    ASSIGN_OR_RETURN(std::string text, ReadTlsFile(path));
    texts.push_back(std::move(text));
  }
  return texts;
}

// Files that are judged together.
class Part {
 public:
  // `judge` makes of the texts of `paths` what is published.
  template <typename Judge>
  absl::Status Look(const std::vector<std::string>& paths, const Judge& judge) {
    absl::StatusOr<Texts> read = ReadAll(paths);
    const bool same = seen_.has_value() && read.ok() && *read == *seen_;
    if (same && status_.ok()) return absl::OkStatus();
    // The same again, too: a certificate of tomorrow is good tomorrow.
    absl::Status status = read.status();
    if (status.ok()) {
      const absl::StatusOr<std::string> judged = judge(*read);
      status = judged.ok() ? text_.Put(*judged) : judged.status();
    }
    const bool said = status == status_ && (same || (!seen_.has_value() && !read.ok()));
    if (!status.ok() && !said) {
      gpr_log(GPR_ERROR, "the TLS files cannot be used, and what was read before stays in use: %s",
              std::string(status.message()).c_str());
    }
    seen_ = read.ok() ? std::optional<Texts>(*std::move(read)) : std::nullopt;
    status_ = status;
    return status;
  }

  const std::string& path() const { return text_.path(); }

 private:
  TextInMemory text_;
  std::optional<Texts> seen_;  // at the last look; nothing where a file could not be read
  absl::Status status_;        // of it
};

}  // namespace

// Thread-safe.
class PublishedTlsFiles {
 public:
  explicit PublishedTlsFiles(TlsFiles files) : files_(std::move(files)) {}

  // Publishes what is new and good; says what is not.
  absl::Status Look() ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(&mutex_);
    absl::Status status;
    if (!files_.certificate.empty()) {
      status = pair_.Look({files_.certificate, files_.key},
                          [this](const Texts& texts) { return JudgePair(files_, texts[0], texts[1]); });
    }
    if (!files_.ca.empty()) {
      status.Update(ca_.Look({files_.ca}, [this](const Texts& texts) { return JudgeAuthorities(files_, texts[0]); }));
    }
    return status;
  }

  std::string pair_path() ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(&mutex_);
    return pair_.path();
  }
  std::string ca_path() ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(&mutex_);
    return ca_.path();
  }

 private:
  const TlsFiles files_;
  Mutex mutex_;
  Part pair_ ABSL_GUARDED_BY(mutex_);
  Part ca_ ABSL_GUARDED_BY(mutex_);
};

namespace {

// Numbers of descriptors are the process's, and these are never given back: a client that is made a thousand times has
// those of its first time again.
using Names = std::array<std::string, 3>;
Mutex all_mutex;
std::map<Names, std::unique_ptr<PublishedTlsFiles>>* all ABSL_GUARDED_BY(all_mutex) = nullptr;

PublishedTlsFiles* Published(const TlsFiles& files) {
  MutexLock lock(&all_mutex);
  if (all == nullptr) all = new std::map<Names, std::unique_ptr<PublishedTlsFiles>>();
  std::unique_ptr<PublishedTlsFiles>& published = (*all)[Names{files.certificate, files.key, files.ca}];
  if (published == nullptr) published = std::make_unique<PublishedTlsFiles>(files);
  return published.get();
}

}  // namespace

absl::StatusOr<std::shared_ptr<const JudgedTlsFiles>> JudgedTlsFiles::Watch(const TlsFiles& files) {
  if (files.certificate.empty() != files.key.empty()) return CheckTlsFiles(files);
  PublishedTlsFiles* const published = Published(files);
  RETURN_IF_ERROR(published->Look());
  return std::shared_ptr<const JudgedTlsFiles>(new JudgedTlsFiles(published));
}

JudgedTlsFiles::JudgedTlsFiles(PublishedTlsFiles* published)
    : published_(published),
      pair_path_(published->pair_path()),
      ca_path_(published->ca_path()),
      thread_([this] { Run(); }) {}

JudgedTlsFiles::~JudgedTlsFiles() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  thread_.join();
}

void JudgedTlsFiles::Run() {
  while (true) {
    {
      MutexLock lock(&mutex_);
      const bool stops = changed_.AwaitFor(&mutex_, kLookEvery, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        return stopping_;
      });
      if (stops) return;
    }
    published_->Look().IgnoreError();  // it has said what is wrong
  }
}

}  // namespace mneme
