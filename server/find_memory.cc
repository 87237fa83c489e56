#include "server/find_memory.h"

#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "server/convert_memory.h"
#include "server/request_error.h"

namespace mneme {
namespace {

constexpr char kMemoryType[] = "mneme.v1.Memory";
constexpr char kDroppedPayload[] = "mneme/dropped-meanwhile";  // stays in this process

}  // namespace

absl::StatusOr<MemoryHandle> FindMemory(const Deployment& deployment, const std::string& name,
                                        const std::string& field) {
  RETURN_IF_ERROR(CheckMemoryName(field, name));
  absl::StatusOr<MemoryHandle> memory = deployment.FindMemory(name);
  if (memory.ok()) return memory;
  if (!absl::IsNotFound(memory.status())) return memory.status();
  const absl::Status error = absl::NotFoundError(absl::StrCat("there is no memory \"", name, "\""));
  return WithResource(WithReason(error, reason::kMemoryNotFound), kMemoryType, name);
}

absl::StatusOr<MemoryHandle> FindAgain(const Deployment& deployment, const MemoryRecord& memory) {
  ASSIGN_OR_RETURN(MemoryHandle current, FindMemory(deployment, memory.spec.name));
  if (current->number == memory.number) return current;
  return absl::NotFoundError(absl::StrCat("memory \"", memory.spec.name, "\" was dropped and made anew meanwhile"));
}

absl::Status CheckSameMemory(MemoryNumber before, const MemoryHandle& memory) {
  if (memory->number == before) return absl::OkStatus();
  return WithMemory(absl::NotFoundError("it was dropped, and made anew, since the stream named it"), *memory);
}

absl::StatusOr<Version> ReadVersion(const Deployment& deployment, const MemoryHandle& memory,
                                    const std::string& bytes, const std::string& field) {
  if (bytes.empty()) return Version{};
  absl::StatusOr<Version> version = deployment.DecodeVersion(memory, bytes);
  if (version.ok() || !absl::IsInvalidArgument(version.status())) return version;
  return FieldError(field, "is not a version that this deployment gave");
}

absl::Status WithMemory(absl::Status status, const MemoryRecord& memory) {
  if (!absl::IsNotFound(status)) return status;
  if (ReasonOf(status) == reason::kMemoryNotFound) status.SetPayload(kDroppedPayload, absl::Cord());
  return WithResource(WithReason(std::move(status), reason::kMemoryNotFound), kMemoryType, memory.spec.name);
}

bool WasDroppedMeanwhile(const absl::Status& status) { return status.GetPayload(kDroppedPayload).has_value(); }

}  // namespace mneme
