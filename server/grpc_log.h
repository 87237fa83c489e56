// GrpcLog: what gRPC would print to stderr by itself, as lines of our log.
#ifndef MNEME_SERVER_GRPC_LOG_H_
#define MNEME_SERVER_GRPC_LOG_H_

#include "server/log.h"

namespace mneme {

// From construction to destruction, gRPC's errors are warnings of the component "grpc", and the rest is debug. One at a
// time in a process, since gRPC has one log; `log` must outlive it. Thread-safe.
class GrpcLog {
 public:
  explicit GrpcLog(Log* log);
  ~GrpcLog();
  GrpcLog(const GrpcLog&) = delete;
  GrpcLog& operator=(const GrpcLog&) = delete;
};

}  // namespace mneme

#endif  // MNEME_SERVER_GRPC_LOG_H_
