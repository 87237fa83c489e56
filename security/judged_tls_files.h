// JudgedTlsFiles: TLS files as gRPC may have them: read and judged by us, and published where its file watcher looks.
//
// gRPC 1.51 takes any text that a file has at the time. An empty certificate aborts the process, one of another key or
// kind closes its port until somebody mends it. So it is given paths of memory of this process instead
// (/proc/self/fd/N), in which there is never anything but what was judged to be good, whole, and of one moment:
//   1. A thread reads the files, and judges what changed (tls_files).
//   2. What is good is written to fresh memory, which takes the place of the old under the same number at once: who has
//      opened the old reads it to its end.
//   3. Key and certificates are one text under one path, so that nobody reads a pair of two moments; gRPC, which opens
//      them one after the other, compares the times of modification around that, and these differ for each text.
// What is not good leaves published what was there, and is said by gpr_log (gRPC's log, so ours in a server), once for
// each text. A pair is judged apart from the authorities: neither is held up by the other.
#ifndef MNEME_SECURITY_JUDGED_TLS_FILES_H_
#define MNEME_SECURITY_JUDGED_TLS_FILES_H_

#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "security/tls_files.h"

namespace mneme {

class PublishedTlsFiles;

// Thread-safe.
class JudgedTlsFiles {
 public:
  // Errors of CheckTlsFiles; UNAVAILABLE when there is no memory for what was read, or no /proc to read it by. The
  // files are looked at while what is returned lives.
  static absl::StatusOr<std::shared_ptr<const JudgedTlsFiles>> Watch(const TlsFiles& files);
  ~JudgedTlsFiles();
  JudgedTlsFiles(const JudgedTlsFiles&) = delete;
  JudgedTlsFiles& operator=(const JudgedTlsFiles&) = delete;

  // Of the key, and of the certificates behind it; empty where the files have none. It can be read, and has what was
  // published last, as long as the process lives: gRPC does not say when it ends to look.
  const std::string& pair_path() const { return pair_path_; }
  // Of the authorities.
  const std::string& ca_path() const { return ca_path_; }

 private:
  explicit JudgedTlsFiles(PublishedTlsFiles* published);
  void Run() ABSL_LOCKS_EXCLUDED(mutex_);

  PublishedTlsFiles* const published_;  // of all who watch files of these names; never freed
  const std::string pair_path_, ca_path_;
  Mutex mutex_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // the last, since it uses the others
};

}  // namespace mneme

#endif  // MNEME_SECURITY_JUDGED_TLS_FILES_H_
