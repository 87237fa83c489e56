#include "server/admin_handlers.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "server/convert_memory.h"
#include "server/find_memory.h"
#include "server/memory_quotas.h"
#include "server/name_page.h"
#include "server/request_error.h"
#include "server/version.h"

namespace mneme {
namespace {

void WriteMemoryStatistics(const MemoryStatistics& statistics, v1::GetStatisticsResponse* out) {
  out->set_entries(statistics.entries);
  out->set_dead_rows(statistics.dead_rows);
  out->set_partitions(statistics.partitions);
  out->set_tail_rows(statistics.tail_rows);
  out->set_segments(statistics.segments);
  out->set_codebooks(statistics.codebooks);
  out->set_index_bytes(statistics.index_bytes);
  out->set_tail_ram_bytes(statistics.tail_ram_bytes);
  out->set_evicted(statistics.evicted);
  out->set_expired(statistics.expired);
  out->set_drift(statistics.drift);
  out->mutable_benefit()->set_tokens(statistics.benefit_tokens);
  out->mutable_benefit()->set_nats(statistics.benefit_nats);
}

void WriteColour(const MemoryStatistics& memory, const DeploymentStatistics& deployment,
                 v1::GetStatisticsResponse* out) {
  if (!deployment.write_status.ok()) {
    out->set_colour(v1::COLOUR_RED);
    out->set_colour_reason(absl::StrCat("writes are refused: ", std::string(deployment.write_status.message())));
  } else if (memory.unsealed_partitions > 0) {
    out->set_colour(v1::COLOUR_YELLOW);
    out->set_colour_reason(absl::StrCat(memory.unsealed_partitions, " partitions wait to be sealed"));
  } else if (deployment.maintenance_busy) {
    out->set_colour(v1::COLOUR_YELLOW);
    out->set_colour_reason("background work is running");
  } else {
    out->set_colour(v1::COLOUR_GREEN);
  }
}

}  // namespace

absl::Status HandleCreateMemory(const CallContext& call, const v1::CreateMemoryRequest& request,
                                v1::CreateMemoryResponse* response) {
  MemorySpec spec;
  RETURN_IF_ERROR(ReadMemory(request.memory(), spec));
  MemoryQuotas::Ticket ticket;  // until it is there
  if (const Principal* const principal = call.caller.principal(); principal != nullptr) {
    ASSIGN_OR_RETURN(ticket, call.front_end.memory_quotas().Admit(*principal, call.deployment, spec.name));
  }
  absl::StatusOr<MemoryHandle> memory = call.deployment.CreateMemory(spec);
  if (!memory.ok()) {
    if (!absl::IsAlreadyExists(memory.status())) return memory.status();
    return WithResource(memory.status(), "mneme.v1.Memory", spec.name);
  }
  WriteMemory(**memory, response->mutable_memory());
  return absl::OkStatus();
}

absl::Status HandleGetMemory(const CallContext& call, const v1::GetMemoryRequest& request,
                             v1::GetMemoryResponse* response) {
  ASSIGN_OR_RETURN(const MemoryHandle memory, FindMemory(call.deployment, request.memory()));
  WriteMemory(*memory, response->mutable_memory());
  return absl::OkStatus();
}

absl::Status HandleListMemories(const CallContext& call, const v1::ListMemoriesRequest& request,
                                v1::ListMemoriesResponse* response) {
  ASSIGN_OR_RETURN(const size_t page, ReadNamePage(request));
  ASSIGN_OR_RETURN(std::vector<MemoryHandle> memories, call.deployment.ListMemories());
  std::erase_if(memories, [&](const MemoryHandle& memory) { return !call.caller.MayList(memory->spec.name); });
  auto next = std::upper_bound(memories.begin(), memories.end(), request.page_token(),
                               [](const std::string& name, const MemoryHandle& memory) {
                                 return name < memory->spec.name;
                               });
  for (size_t i = 0; i < page && next != memories.end(); ++i, ++next) WriteMemory(**next, response->add_memories());
  if (next != memories.end()) response->set_next_page_token((*std::prev(next))->spec.name);
  return absl::OkStatus();
}

absl::Status HandleDropMemory(const CallContext& call, const v1::DropMemoryRequest& request,
                              v1::DropMemoryResponse* /*response*/) {
  ASSIGN_OR_RETURN(const MemoryHandle memory, FindMemory(call.deployment, request.memory()));
  return WithMemory(call.deployment.DropMemory(request.memory()), *memory);
}

absl::Status HandleGetStatistics(const CallContext& call, const v1::GetStatisticsRequest& request,
                                 v1::GetStatisticsResponse* response) {
  const DeploymentStatistics deployment = call.deployment.Statistics();
  MemoryStatistics statistics = deployment.memories;
  if (!request.memory().empty()) {
    ASSIGN_OR_RETURN(const MemoryHandle memory, FindMemory(call.deployment, request.memory()));
    absl::StatusOr<MemoryStatistics> one = call.deployment.Statistics(memory);
    if (!one.ok()) return WithMemory(one.status(), *memory);
    statistics = *one;
  }
  WriteMemoryStatistics(statistics, response);
  response->set_shards(call.deployment.shards());
  // The rest is of all memories, and would tell who may read one when others come and go.
  if (!call.caller.MayReadAll()) {
    DeploymentStatistics own;
    own.write_status = deployment.write_status;
    WriteColour(statistics, own, response);
    return absl::OkStatus();
  }
  WriteColour(statistics, deployment, response);
  response->set_store_bytes(deployment.store_bytes);
  response->set_queued_searches(deployment.queued_searches);
  response->set_queued_write_bytes(deployment.queued_write_bytes);
  response->set_memories(deployment.memory_count);
  return absl::OkStatus();
}

absl::Status HandlePing(const CallContext& call, const v1::PingRequest& /*request*/, v1::PingResponse* response,
                        Done done) {
  response->set_version(kVersion);
  response->set_shards(call.deployment.shards());
  done(absl::OkStatus());
  return absl::OkStatus();
}

}  // namespace mneme
