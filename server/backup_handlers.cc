#include "server/backup_handlers.h"

#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/backup_outcome.h"
#include "server/request_error.h"

namespace mneme {
namespace {

void Fill(const BackupManifest& manifest, v1::Backup& out) {
  out.set_number(manifest.number);
  out.set_created_ms(manifest.created_ms);
  out.set_entries(manifest.entries());
  out.set_memories(manifest.stores.front().entries);
  out.set_bytes(manifest.bytes());
  for (size_t i = 1; i < manifest.stores.size(); ++i) out.add_applied(manifest.stores[i].applied);
  out.set_deployment(manifest.deployment);
  out.set_shards(manifest.shards);
}

void Fill(const KnownBackup& backup, v1::Backup& out) {
  if (!backup.manifest.ok()) {
    out.set_number(backup.number);
    out.set_damage(std::string(backup.manifest.status().message()));
    return;
  }
  Fill(*backup.manifest, out);
  if (backup.missing.empty()) return;
  for (const uint32_t shard : backup.missing) out.add_missing_shards(shard);
  out.set_damage(absl::StrCat("it is not whole: of its ", backup.manifest->shards, " shards the parts of ",
                              absl::StrJoin(backup.missing, ", "), " are missing"));
}

}  // namespace

absl::Status HandleCreateBackup(const CallContext& call, const v1::CreateBackupRequest& request,
                                const Tell<v1::CreateBackupResponse>& tell) {
  const auto progress = [&](const BackupProgress& step) {
    v1::CreateBackupResponse response;
    response.set_stage(step.stage);
    response.set_bytes_done(step.bytes_done);
    response.set_bytes_total(step.bytes_total);
    return tell(std::move(response));
  };
  ASSIGN_OR_RETURN(const BackupOutcome made, call.deployment.CreateBackup(request.keep(), call.limits, progress));
  v1::CreateBackupResponse done;
  done.set_stage("done");
  done.set_bytes_done(made.written.manifest.bytes());
  done.set_bytes_total(made.written.manifest.bytes());
  Fill(made.written.manifest, *done.mutable_backup());
  done.set_new_bytes(made.written.new_bytes);
  done.set_removed(made.removed);
  (void)tell(std::move(done));
  return absl::OkStatus();
}

absl::Status HandleListBackups(const CallContext& call, const v1::ListBackupsRequest& request,
                               v1::ListBackupsResponse* response) {
  if (request.page_size() > limits::kMaxMemoriesPage) {
    return FieldError("page_size",
                      absl::StrCat("is ", request.page_size(), "; must be at most ", limits::kMaxMemoriesPage));
  }
  uint64_t after = 0;
  if (!request.page_token().empty() && !absl::SimpleAtoi(request.page_token(), &after)) {
    return FieldError("page_token", "is none that an answer gave");
  }
  const size_t most = request.page_size() == 0 ? limits::kMaxMemoriesPage : request.page_size();
  ASSIGN_OR_RETURN(const std::vector<KnownBackup> known, call.deployment.ListBackups(call.limits));
  for (const KnownBackup& backup : known) {
    if (backup.number <= after) continue;
    if (static_cast<size_t>(response->backups_size()) == most) {
      response->set_next_page_token(absl::StrCat(response->backups(response->backups_size() - 1).number()));
      break;
    }
    Fill(backup, *response->add_backups());
  }
  return absl::OkStatus();
}

}  // namespace mneme
