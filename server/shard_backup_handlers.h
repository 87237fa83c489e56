// What a shard does for the backups of its deployment, as a front end asks it.
#ifndef MNEME_SERVER_SHARD_BACKUP_HANDLERS_H_
#define MNEME_SERVER_SHARD_BACKUP_HANDLERS_H_

#include "mneme/internal/v1/shard.pb.h"
#include "server/progress_stream.h"
#include "server/unary_call.h"

namespace mneme {

absl::Status HandleDescribeBackups(const CallContext& call, const internal::v1::Call& request,
                                   internal::v1::Answer* response);
absl::Status HandleTakeBackup(const CallContext& call, const internal::v1::Call& request,
                              const Tell<internal::v1::Answer>& tell);
absl::Status HandleWriteBackup(const CallContext& call, const internal::v1::Call& request,
                               const Tell<internal::v1::Answer>& tell);
absl::Status HandleRemoveBackup(const CallContext& call, const internal::v1::Call& request,
                                internal::v1::Answer* response);

}  // namespace mneme

#endif  // MNEME_SERVER_SHARD_BACKUP_HANDLERS_H_
