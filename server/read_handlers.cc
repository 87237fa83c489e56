#include "server/read_handlers.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "server/convert_columns.h"
#include "server/convert_entries.h"
#include "server/convert_selection.h"
#include "server/find_memory.h"
#include "server/read_source.h"

namespace mneme {
namespace {

absl::Status MissingEntry(const std::vector<EntryId>& ids, const std::vector<bool>& found, const MemoryRecord& memory) {
  const auto first = std::find(found.begin(), found.end(), false);
  if (first == found.end()) return absl::OkStatus();
  const EntryId id = ids[static_cast<size_t>(first - found.begin())];
  const auto missing = std::count(found.begin(), found.end(), false);
  const absl::Status error =
      absl::NotFoundError(absl::StrCat("entry ", id, " is not in memory \"", memory.spec.name, "\" (", missing, " of ",
                                       ids.size(), " are missing; allow_missing leaves them out)"));
  return WithResource(WithReason(error, reason::kEntryNotFound), "mneme.v1.Entry",
                      absl::StrCat(memory.spec.name, "/", id));
}

// Refused before anything is read; an id may be named many times. BYTES have no width to count with.
absl::Status CheckAnswerBytes(size_t ids, bool with_keys, const MemorySpec& spec) {
  const size_t bytes = ids * ((with_keys ? spec.KeyBytes() : 0) + spec.ValueBytes());
  if (bytes <= limits::kMaxMessageBytes) return absl::OkStatus();
  return FieldError("ids", absl::StrCat("names ", ids, " entries, which is ", bytes,
                                        " bytes of keys and values; must stay within ", limits::kMaxMessageBytes));
}

}  // namespace

absl::Status HandleGet(const CallContext& call, const v1::GetRequest& request, v1::GetResponse* response) {
  ASSIGN_OR_RETURN(const MemoryHandle memory, FindMemory(call.deployment, request.memory()));
  std::vector<EntryId> ids;
  RETURN_IF_ERROR(ReadList("ids", request.ids(), limits::kMaxIds, ids));
  ASSIGN_OR_RETURN(const Version at_least, ReadVersion(call.deployment, memory, request.at_least_version()));
  RETURN_IF_ERROR(CheckAnswerBytes(ids.size(), request.with_keys(), memory->spec));
  std::vector<bool> found;
  absl::StatusOr<EntryColumns> entries = call.deployment.Get(memory, request.partition(), ids, request.with_keys(),
                                                             at_least, call.limits, found);
  if (!entries.ok()) return WithMemory(entries.status(), *memory);
  if (!request.allow_missing()) RETURN_IF_ERROR(MissingEntry(ids, found, *memory));
  WriteEntries(*entries, memory->spec, response->mutable_entries());
  if (response->ByteSizeLong() <= limits::kMaxMessageBytes) return absl::OkStatus();
  return WithReason(FieldError("ids", "ask for more than fits in a message; ask for fewer"), reason::kResponseTooLarge);
}

absl::Status HandleCount(const CallContext& call, const v1::CountRequest& request, v1::CountResponse* response) {
  ASSIGN_OR_RETURN(const MemoryHandle memory, FindMemory(call.deployment, request.memory()));
  VisitCommand command;
  RETURN_IF_ERROR(ReadPartitions("partitions", request.partitions(), command.partitions));
  RETURN_IF_ERROR(ReadFilter("filter", request.filter(), command.filter));
  RETURN_IF_ERROR(ReadSource(call.deployment, memory, request, command));
  command.limits = call.limits;
  const absl::StatusOr<uint64_t> count = call.deployment.Count(memory, std::move(command));
  if (!count.ok()) return WithMemory(count.status(), *memory);
  response->set_count(*count);
  return absl::OkStatus();
}

}  // namespace mneme
