// `mneme state linear` and `linear-get`: the associative state of Infini-attention.
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/cli/bytes_file.h"
#include "client/cli/columns.h"
#include "client/cli/exit_code.h"
#include "client/cli/states.h"
#include "client/cli/table.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

struct LinearOptions {
  StateName state;
  WriteOptions write;
  std::string keys;     // files
  std::string values;
  std::string queries;
  std::string rule = "linear";
  std::string order = "read_then_write";
  uint32_t segment = 0;
  double epsilon = 1e-10;
  uint32_t value_dimension = 0;
  std::string out;
};

absl::StatusOr<v1::StateOperation> LinearOperation(const LinearOptions& options) {
  if (options.keys.empty() != options.values.empty()) {
    return UsageError("--keys and --values are written together: give both or neither");
  }
  if (options.keys.empty() && options.queries.empty()) {
    return UsageError("state linear needs --keys and --values to write, --queries to read, or all three");
  }
  v1::StateOperation operation = options.state.Operation();
  v1::LinearApply& linear = *operation.mutable_linear();
  if (!options.keys.empty()) {
    ASSIGN_OR_RETURN(*linear.mutable_keys(), ReadVectors(options.keys));
    ASSIGN_OR_RETURN(*linear.mutable_values(), ReadVectors(options.values));
  }
  if (!options.queries.empty()) {
    ASSIGN_OR_RETURN(*linear.mutable_queries(), ReadVectors(options.queries));
  }
  if (options.value_dimension > 0) linear.mutable_values()->set_dimension(options.value_dimension);
  linear.set_rule(options.rule == "delta" ? v1::LINEAR_RULE_DELTA : v1::LINEAR_RULE_LINEAR);
  linear.set_order(options.order == "write_then_read" ? v1::LINEAR_ORDER_WRITE_THEN_READ
                                                      : v1::LINEAR_ORDER_READ_THEN_WRITE);
  linear.set_segment_length(options.segment);
  linear.set_epsilon(options.epsilon);
  return operation;
}

absl::Status Linear(const LinearOptions& options, Session& session) {
  ASSIGN_OR_RETURN(const v1::StateOperation operation, LinearOperation(options));
  ASSIGN_OR_RETURN(const v1::StateResult result,
                   ApplyOne(options.state.memory, operation, options.write, session));
  const v1::LinearAnswer& answer = result.linear();
  const size_t row_bytes = answer.value_dimension() * sizeof(float);
  const size_t rows = row_bytes == 0 ? 0 : answer.reads().size() / row_bytes;
  if (!options.out.empty()) {
    RETURN_IF_ERROR(WriteArray(options.out, NpyDtype::kF32, answer.value_dimension(), answer.reads()));
  }
  if (session.json()) {
    Json json = ResultJson(result);
    json["tokens"] = answer.tokens();
    if (options.out.empty()) json["reads"] = MatrixJson<float>(answer.reads(), rows);
    session.PrintJson(json);
    return absl::OkStatus();
  }
  std::string text = absl::StrCat("version ", result.version(), ", ", HumanCount(answer.tokens()), " tokens written\n");
  for (size_t row = 0; row < rows && options.out.empty(); ++row) {
    absl::StrAppend(&text, "query ", row, ": ", VectorText(MatrixRow<float>(answer.reads(), row, rows)), "\n");
  }
  session.Print(text);
  return absl::OkStatus();
}

absl::Status LinearGet(const LinearOptions& options, Session& session) {
  v1::StateOperation operation = options.state.Operation();
  operation.mutable_linear_get();
  ASSIGN_OR_RETURN(const v1::StateResult result,
                   ApplyOne(options.state.memory, operation, options.write, session));
  const v1::LinearState& state = result.linear_state();
  if (!options.out.empty() && result.found()) {
    RETURN_IF_ERROR(MakeFolder(options.out));
    RETURN_IF_ERROR(WriteArray(options.out + "/matrix.npy", NpyDtype::kF64, state.value_dimension(), state.matrix()));
    RETURN_IF_ERROR(WriteArray(options.out + "/normaliser.npy", NpyDtype::kF64, 0, state.normaliser()));
  }
  if (session.json()) {
    Json json = ResultJson(result);
    json["tokens"] = state.tokens();
    json["key_dimension"] = state.key_dimension();
    json["value_dimension"] = state.value_dimension();
    if (options.out.empty()) {
      json["matrix"] = MatrixJson<double>(state.matrix(), state.key_dimension());
      json["normaliser"] = UnpackColumn<double>(state.normaliser());
    }
    session.PrintJson(json);
  } else if (!result.found()) {
    session.Note("there is no such state");
  } else {
    session.Print(absl::StrCat("version ", result.version(), ", M ", state.key_dimension(), " x ",
                               state.value_dimension(), ", ", HumanCount(state.tokens()), " tokens written\n"));
  }
  return absl::OkStatus();
}

void AddLinear(Command state, Action& action) {
  Command verb = state.AddVerb("linear", "Write bindings to a linear memory, and read it", kMore,
                               "  mneme state linear chats chat42 layer0 --keys k.npy --values v.npy --rule delta\n"
                               "  mneme state linear chats chat42 layer0 --queries q.npy --out reads.npy");
  auto options = std::make_shared<LinearOptions>();
  AddStateName(verb, options->state);
  verb.AddOption("--keys", options->keys, "[n x dk] to write").Type("FILE.npy");
  verb.AddOption("--values", options->values, "[n x dv]").Type("FILE.npy");
  verb.AddOption("--queries", options->queries, "[m x dk] to read").Type("FILE.npy");
  verb.AddOption("--rule", options->rule, "linear, or delta: write what is not known yet").ShowDefault()
      .OneOf({"linear", "delta"});
  verb.AddOption("--order", options->order, "read_then_write or write_then_read").ShowDefault()
      .OneOf({"read_then_write", "write_then_read"});
  verb.AddOption("--segment", options->segment, "Rows written together; 0: all").Type("N").ShowDefault();
  verb.AddOption("--epsilon", options->epsilon, "The least denominator").ShowDefault().Positive();
  verb.AddOption("--value-dim", options->value_dimension, "Width of the zeros that a state that is not there reads")
      .Type("DV").Range(1U, limits::kMaxValueDimension).Excludes("--values");
  verb.AddOption("--out", options->out, "Where what was read goes, f32 [m x dv]; else stdout").Type("FILE.npy");
  AddWriteOptions(verb, options->write);
  verb.WhenGiven([options, &action] {
    action = [options](Session& session) { return Linear(*options, session); };
  });
}

}  // namespace

void AddLinearVerbs(Command state, Action& action) {
  AddLinear(state, action);
  Command verb = state.AddVerb("linear-get", "Read M and z of a linear memory", kMore,
                               "  mneme state linear-get chats chat42 layer0 -o json\n"
                               "  mneme state linear-get chats chat42 layer0 --out layer0/");
  auto options = std::make_shared<LinearOptions>();
  AddStateName(verb, options->state);
  verb.AddOption("--out", options->out, "Where matrix.npy and normaliser.npy go, f64").Type("FOLDER");
  verb.WhenGiven([options, &action] {
    action = [options](Session& session) { return LinearGet(*options, session); };
  });
}

}  // namespace mneme::cli
