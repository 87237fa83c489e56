// The match read-out: the best counterpart of each entry of two memories, by CSLS.
#ifndef MNEME_SERVER_MATCH_READ_OUT_H_
#define MNEME_SERVER_MATCH_READ_OUT_H_

#include "absl/status/status.h"
#include "engine/commands.h"
#include "mneme/v1/memory.pb.h"
#include "server/unary_call.h"

namespace mneme {

// Blocks. `target` selects the request's own side, checked; `read` becomes the version of it that was read.
absl::Status AnswerMatch(const CallContext& call, const MemoryHandle& memory, const v1::QueryRequest& request,
                         const VisitCommand& target, v1::Precision precision, v1::MatchResult* out, Version& read);

}  // namespace mneme

#endif  // MNEME_SERVER_MATCH_READ_OUT_H_
