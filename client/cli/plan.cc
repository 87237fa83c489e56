// `mneme plan`: what a memory will need, before there is one.
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/describe.h"
#include "client/cli/exit_code.h"
#include "client/cli/plan_model.h"
#include "client/cli/table.h"
#include "client/cli/verbs.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

struct PlanOptions {
  PlanRequest request;
  std::string key_dtype = "f32";
  std::string metric = "l2";
  std::string index = "auto";
  std::string value = "token";
  double value_bytes = 0;
  uint32_t value_dimension = 0;
  double machine_ram_gib = 24;
};

absl::StatusOr<PlanRequest> ReadPlan(const PlanOptions& options) {
  PlanRequest request = options.request;
  request.component_bytes = options.key_dtype == "f16" ? 2 : 4;
  request.cosine = options.metric == "cosine";
  const auto index = ParseIndexChoice(options.index, request.dimension);
  if (!index.ok()) return UsageError(absl::StrCat("--index: ", index.status().message()));
  request.index = *index;
  request.variable_values = options.value == "bytes";
  if (options.value == "vector" && options.value_dimension == 0) {
    return UsageError("--value vector needs --value-dim M");
  }
  if (options.value == "bytes" && options.value_bytes == 0) {
    return UsageError("--value bytes needs --value-bytes MEAN");
  }
  if (options.value == "vector") request.value_bytes = 4.0 * options.value_dimension;
  if (options.value == "bytes") request.value_bytes = options.value_bytes;
  request.machine_ram_bytes = static_cast<uint64_t>(options.machine_ram_gib * (uint64_t{1} << 30));
  return request;
}

Json PlanJson(const PlanRequest& request, const Plan& plan) {
  return {{"entries", request.entries},
          {"dimension", request.dimension},
          {"index", FormatIndexChoice(request.index)},
          {"lists", plan.lists},
          {"code_bytes_per_entry", plan.code_bytes_per_entry},
          {"store_bytes", plan.store_bytes},
          {"index_bytes", plan.index_bytes},
          {"disk_bytes", plan.disk_bytes},
          {"peak_disk_bytes", plan.peak_disk_bytes},
          {"ram_bytes", plan.ram_bytes},
          {"least_ram_bytes", plan.least_ram_bytes},
          {"build_seconds", plan.build_seconds},
          {"rows_scanned", plan.rows_scanned},
          {"queries_per_second", plan.queries_per_second},
          {"machines_for_ram", plan.machines_for_ram},
          {"machines", plan.machines}};
}

std::string Bytes(double bytes) { return HumanBytes(static_cast<uint64_t>(bytes)); }

std::string PlanText(const PlanRequest& request, const Plan& plan) {
  Table table({});
  table.Add({"ram", absl::StrCat(Bytes(plan.ram_bytes), "; at least ", Bytes(plan.least_ram_bytes),
                                 " with the keys left on disk")});
  table.Add({"disk", absl::StrCat(Bytes(plan.disk_bytes), " (store ", Bytes(plan.store_bytes), ", index ",
                                  Bytes(plan.index_bytes), "); ", Bytes(plan.peak_disk_bytes), " while rebuilding")});
  if (plan.lists == 0) {
    table.Add({"index", absl::StrCat("none: below ", HumanCount(limits::kFlatRows),
                                     " entries a scan is exact and fast")});
  } else {
    table.Add({"index", absl::StrFormat("%s, %s lists, %.0f bytes of code an entry", FormatIndexChoice(request.index),
                                        HumanCount(plan.lists), plan.code_bytes_per_entry)});
  }
  table.Add({"build", HumanSeconds(plan.build_seconds)});
  table.Add({"queries", absl::StrFormat("%s a second at k = %d, %s rows scanned by each",
                                        HumanCount(static_cast<uint64_t>(plan.queries_per_second)), request.k,
                                        HumanCount(static_cast<uint64_t>(plan.rows_scanned)))});
  table.Add({"machines", absl::StrFormat("%d of %d cores and %s of ram", plan.machines, request.machine_cores,
                                         HumanBytes(request.machine_ram_bytes))});
  return table.ToString();
}

absl::Status PlanVerb(const PlanOptions& options, Session& session) {
  ASSIGN_OR_RETURN(const PlanRequest request, ReadPlan(options));
  const Plan plan = MakePlan(request);
  if (session.json()) {
    session.PrintJson(PlanJson(request, plan));
  } else {
    session.Print(PlanText(request, plan));
  }
  return absl::OkStatus();
}

void AddMachineOptions(Command verb, PlanOptions& options) {
  constexpr char kGroup[] = "Machines";
  verb.AddOption("--ram", options.machine_ram_gib, "GiB of ram of one machine").Type("GIB")
      .ShowDefault().Range(limits::kMinPlannedRamGib, limits::kMaxPlannedRamGib).Group(kGroup);
  verb.AddOption("--cores", options.request.machine_cores, "Cores of one machine").Type("CORES")
      .ShowDefault().Range(1U, limits::kMaxPlannedCores).Group(kGroup);
  verb.AddOption("--qps", options.request.wanted_queries_per_second, "Queries per second that are wanted")
      .Type("QPS").Range(0.0, limits::kMaxPlannedQueries).Group(kGroup);
}

}  // namespace

void AddPlan(Command app, Action& action) {
  Command verb = app.AddVerb("plan", "Estimate ram, disk, speed and machines; asks no server", kMemories,
                             "  mneme plan --entries 10000000 --dim 256 --key-dtype f16\n"
                             "  mneme plan --entries 103000000 --dim 1024 --key-dtype f16 -k 1024 --ram 64 --qps 500");
  auto options = std::make_shared<PlanOptions>();
  verb.AddOption("--entries", options->request.entries, "How many entries").Required().Type("N")
      .Range(uint64_t{1}, limits::kMaxPlannedEntries);
  verb.AddOption("--dim", options->request.dimension, "Components of a key").Required().Type("D")
      .Range(1U, limits::kMaxDimension);
  verb.AddOption("--key-dtype,--dtype", options->key_dtype, "f32 or f16").Type("DTYPE").ShowDefault()
      .OneOf({"f32", "f16"});
  verb.AddOption("--metric", options->metric, "l2, ip or cosine").Type("METRIC").ShowDefault()
      .OneOf({"l2", "ip", "cosine"});
  verb.AddOption("--index", options->index, "As of `create`").Type("INDEX").ShowDefault();
  verb.AddOption("--value", options->value, "token, vector or bytes").Type("KIND").ShowDefault()
      .OneOf({"token", "vector", "bytes"});
  verb.AddOption("--value-dim", options->value_dimension, "vector: components of a value").Type("M")
      .Range(1U, limits::kMaxValueDimension);
  verb.AddOption("--value-bytes", options->value_bytes, "bytes: mean length of a value").Type("MEAN")
      .Range(1.0, static_cast<double>(limits::kMaxValueBytes));
  verb.AddOption("-k", options->request.k, "Neighbours of a query").Type("K").ShowDefault().Range(1U, limits::kMaxK);
  AddMachineOptions(verb, *options);
  verb.WhenGiven([options, &action] {
    action = [options](Session& session) { return PlanVerb(*options, session); };
  });
}

}  // namespace mneme::cli
