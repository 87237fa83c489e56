#include "server/alias_handlers.h"

#include <algorithm>
#include <string>
#include <vector>

#include "common/limits.h"
#include "common/status_macros.h"
#include "server/convert_memory.h"
#include "server/find_memory.h"
#include "server/name_page.h"
#include "server/request_error.h"

namespace mneme {
namespace {

constexpr char kAliasType[] = "mneme.v1.Alias";

}  // namespace

absl::Status HandleSetAlias(const CallContext& call, const v1::SetAliasRequest& request,
                            v1::SetAliasResponse* response) {
  RETURN_IF_ERROR(CheckMemoryName("alias", request.alias()));
  ASSIGN_OR_RETURN(const MemoryHandle memory, FindMemory(call.deployment, request.memory()));
  AliasChange change{request.alias(), memory->spec.name, std::nullopt};
  if (request.has_expected_memory()) {
    if (!request.expected_memory().empty()) {
      RETURN_IF_ERROR(CheckMemoryName("expected_memory", request.expected_memory()));
    }
    change.expected = request.expected_memory();
  }
  const absl::StatusOr<MemoryHandle> before = call.deployment.SetAlias(change);
  if (absl::IsNotFound(before.status())) return WithMemory(before.status(), *memory);
  if (!before.ok()) return WithResource(before.status(), kAliasType, request.alias());
  response->mutable_alias()->set_alias(request.alias());
  response->mutable_alias()->set_memory(memory->spec.name);
  if (*before != nullptr) response->set_previous_memory((*before)->spec.name);
  return absl::OkStatus();
}

absl::Status HandleDropAlias(const CallContext& call, const v1::DropAliasRequest& request,
                             v1::DropAliasResponse* /*response*/) {
  RETURN_IF_ERROR(CheckMemoryName("alias", request.alias()));
  return WithResource(call.deployment.DropAlias(request.alias()), kAliasType, request.alias());
}

absl::Status HandleListAliases(const CallContext& call, const v1::ListAliasesRequest& request,
                               v1::ListAliasesResponse* response) {
  ASSIGN_OR_RETURN(const size_t page, ReadNamePage(request));
  ASSIGN_OR_RETURN(std::vector<Alias> aliases, call.deployment.ListAliases());
  std::erase_if(aliases, [&](const Alias& alias) { return !call.caller.MayList(alias.name); });
  auto next = std::upper_bound(aliases.begin(), aliases.end(), request.page_token(),
                               [](const std::string& name, const Alias& alias) { return name < alias.name; });
  for (size_t i = 0; i < page && next != aliases.end(); ++i, ++next) {
    v1::Alias* out = response->add_aliases();
    out->set_alias(next->name);
    out->set_memory(next->memory->spec.name);
  }
  if (next != aliases.end()) response->set_next_page_token(std::prev(next)->name);
  return absl::OkStatus();
}

}  // namespace mneme
