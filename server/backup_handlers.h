// CreateBackup and ListBackups.
#ifndef MNEME_SERVER_BACKUP_HANDLERS_H_
#define MNEME_SERVER_BACKUP_HANDLERS_H_

#include "mneme/v1/admin.pb.h"
#include "server/progress_stream.h"
#include "server/unary_call.h"

namespace mneme {

absl::Status HandleCreateBackup(const CallContext& call, const v1::CreateBackupRequest& request,
                                const Tell<v1::CreateBackupResponse>& tell);
absl::Status HandleListBackups(const CallContext& call, const v1::ListBackupsRequest& request,
                               v1::ListBackupsResponse* response);

}  // namespace mneme

#endif  // MNEME_SERVER_BACKUP_HANDLERS_H_
