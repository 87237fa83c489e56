// `mneme delete`.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/columns.h"
#include "client/cli/describe.h"
#include "client/cli/exit_code.h"
#include "client/cli/receipt_name.h"
#include "client/cli/selection.h"
#include "client/cli/table.h"
#include "client/cli/verbs.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

struct DeleteOptions {
  std::string memory;
  std::vector<uint64_t> ids;
  std::string ids_file;
  Selection selection;
  bool all = false;
  bool dry_run = false;
};

absl::StatusOr<std::vector<uint64_t>> Ids(const DeleteOptions& options) {
  std::vector<uint64_t> ids = options.ids;
  if (options.ids_file.empty()) return ids;
  ASSIGN_OR_RETURN(const NpyFile file, NpyFile::Open(options.ids_file));
  RETURN_IF_ERROR(CheckColumn(file, file.rows()));
  RETURN_IF_ERROR(CheckRange(file, "id", 0));
  for (uint64_t row = 0; row < file.rows(); ++row) ids.push_back(static_cast<uint64_t>(file.IntegerAt(row)));
  return ids;
}

// The requests that together delete what was asked for: several only where there are many ids.
absl::StatusOr<std::vector<v1::DeleteRequest>> Requests(const DeleteOptions& options) {
  const bool by_id = !options.ids.empty() || !options.ids_file.empty();
  if (by_id + options.selection.HasFilter() + options.all != 1) {
    return UsageError("delete needs one of: --id or --ids; --source or --label; --all");
  }
  v1::DeleteRequest common;
  common.set_memory(options.memory);
  *common.mutable_partitions() = options.selection.ToPartitions();
  common.set_dry_run(options.dry_run);
  if (options.all) common.set_everything(true);
  if (options.selection.HasFilter()) {
    ASSIGN_OR_RETURN(*common.mutable_filter(), options.selection.ToFilter());
  }
  if (!by_id) return std::vector<v1::DeleteRequest>{common};
  ASSIGN_OR_RETURN(const std::vector<uint64_t> ids, Ids(options));
  std::vector<v1::DeleteRequest> requests;
  for (size_t first = 0; first < ids.size(); first += limits::kMaxIds) {
    const size_t last = std::min(ids.size(), first + limits::kMaxIds);
    common.set_ids(PackColumn(std::vector<uint64_t>(ids.begin() + static_cast<int64_t>(first),
                                                    ids.begin() + static_cast<int64_t>(last))));
    requests.push_back(common);
  }
  return requests;
}

absl::Status Delete(const DeleteOptions& options, Session& session) {
  ASSIGN_OR_RETURN(const std::vector<v1::DeleteRequest> requests, Requests(options));
  v1::DeleteReceipt total;
  std::vector<std::string> receipts;  // one of each request
  for (const v1::DeleteRequest& request : requests) {
    ASSIGN_OR_RETURN(const v1::DeleteResponse response, session.memory().Delete(request));
    total.set_deleted(total.deleted() + response.receipt().deleted());
    total.set_absent(total.absent() + response.receipt().absent());
    total.set_deleted_at_ms(response.receipt().deleted_at_ms());
    if (response.receipt().id().empty()) continue;  // a dry run, or an older server
    receipts.push_back(ReceiptName(request.memory(), request.partitions(), response.receipt().id()));
  }
  if (session.json()) {
    session.PrintJson({{"deleted", total.deleted()},
                       {"absent", total.absent()},
                       {"dry_run", options.dry_run},
                       {"deleted_at_ms", total.deleted_at_ms()},
                       {"receipts", receipts}});
    return absl::OkStatus();
  }
  session.Print(absl::StrCat(options.dry_run ? "would delete " : "deleted ", HumanCount(total.deleted()), " entries",
                             total.absent() > 0 ? absl::StrCat("; ", HumanCount(total.absent()), " ids were not there")
                                                : "",
                             "\n"));
  for (const std::string& receipt : receipts) session.Print(absl::StrCat("receipt ", receipt, "\n"));
  return absl::OkStatus();
}

}  // namespace

void AddDelete(Command app, Action& action) {
  Command verb = app.AddVerb("delete", "Delete entries by id, source, label or partition", kEntries,
                             "  mneme delete wiki --source 7 --dry-run\n  mneme delete wiki --id 17 --id 18\n"
                             "  mneme delete wiki --partition 3 --all");
  auto options = std::make_shared<DeleteOptions>();
  verb.AddOption("memory", options->memory, "The memory's name").Required().Type("");
  verb.AddOption("--id", options->ids, "An id (repeatable)").Commas().Type("ID");
  verb.AddOption("--ids", options->ids_file, "A file of ids").Type("FILE.npy");
  verb.AddFlag("--all", options->all, "Everything in the partitions named");
  verb.AddFlag("--dry-run", options->dry_run, "Only count");
  AddSelectionOptions(verb, options->selection);
  verb.WhenGiven([options, &action] {
    action = [options](Session& session) { return Delete(*options, session); };
  });
}

}  // namespace mneme::cli
