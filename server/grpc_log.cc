#include "server/grpc_log.h"

#include <grpc/support/log.h>

#include <string>

#include "absl/base/attributes.h"
#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"

namespace mneme {
namespace {

// gRPC takes a bare function, so that where it writes to has to be known to the whole process.
ABSL_CONST_INIT absl::Mutex target_mutex(absl::kConstInit);
Log* target ABSL_GUARDED_BY(target_mutex) = nullptr;

void WriteLine(gpr_log_func_args* line) {
  const LogLevel level = line->severity == GPR_LOG_SEVERITY_ERROR ? LogLevel::kWarning : LogLevel::kDebug;
  const std::string file = line->file;
  absl::MutexLock lock(&target_mutex);
  if (target == nullptr) return;
  target->Write(level, "grpc", line->message,
                {{"source", absl::StrCat(file.substr(file.rfind('/') + 1), ":", line->line)}});
}

void SetTarget(Log* log) {
  absl::MutexLock lock(&target_mutex);
  target = log;
}

}  // namespace

GrpcLog::GrpcLog(Log* log) {
  SetTarget(log);
  gpr_set_log_function(WriteLine);
}

GrpcLog::~GrpcLog() {
  gpr_set_log_function(nullptr);  // its own again
  SetTarget(nullptr);
}

}  // namespace mneme
