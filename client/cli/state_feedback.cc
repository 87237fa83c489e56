// `mneme state feedback-attend` and `feedback-get`: the state of TransformerFAM, block by block.
#include <limits>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/cli/bytes_file.h"
#include "client/cli/columns.h"
#include "client/cli/states.h"
#include "client/cli/table.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

struct FeedbackOptions {
  StateName state;
  WriteOptions write;
  int64_t block = 0;
  double scale = 0;
  uint32_t ring = 0;
  bool not_causal = false;
  std::string queries;  // files
  std::string keys;
  std::string values;
  std::string fam_queries;
  std::string fam_keys;
  std::string fam_values;
  std::string out;  // a folder
};

// Vectors that may be absent.
absl::Status ReadOptional(const std::string& path, v1::Vectors* (v1::FeedbackAttend::*field)(),
                          v1::FeedbackAttend& attend) {
  if (path.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(*(attend.*field)(), ReadVectors(path));
  return absl::OkStatus();
}

absl::StatusOr<v1::StateOperation> AttendOperation(const FeedbackOptions& options) {
  v1::StateOperation operation = options.state.Operation();
  v1::FeedbackAttend& attend = *operation.mutable_feedback_attend();
  attend.set_block_index(options.block);
  attend.set_scale(options.scale);
  attend.set_ring_blocks(options.ring);
  attend.set_not_causal(options.not_causal);
  ASSIGN_OR_RETURN(*attend.mutable_queries(), ReadVectors(options.queries));
  ASSIGN_OR_RETURN(*attend.mutable_keys(), ReadVectors(options.keys));
  ASSIGN_OR_RETURN(*attend.mutable_values(), ReadVectors(options.values));
  RETURN_IF_ERROR(ReadOptional(options.fam_queries, &v1::FeedbackAttend::mutable_fam_queries, attend));
  RETURN_IF_ERROR(ReadOptional(options.fam_keys, &v1::FeedbackAttend::mutable_fam_keys, attend));
  RETURN_IF_ERROR(ReadOptional(options.fam_values, &v1::FeedbackAttend::mutable_fam_values, attend));
  return operation;
}

size_t RowsOf(const std::string& matrix, uint32_t columns) {
  return columns == 0 ? 0 : matrix.size() / (columns * sizeof(float));
}

absl::Status Attend(const FeedbackOptions& options, Session& session) {
  ASSIGN_OR_RETURN(const v1::StateOperation operation, AttendOperation(options));
  ASSIGN_OR_RETURN(const v1::StateResult result,
                   ApplyOne(options.state.memory, operation, options.write, session));
  const v1::FeedbackAnswer& answer = result.feedback();
  const uint32_t width = answer.value_dimension();
  const size_t tokens = RowsOf(answer.tokens(), width);
  const size_t fam = RowsOf(answer.fam(), width);
  if (!options.out.empty()) {
    RETURN_IF_ERROR(MakeFolder(options.out));
    RETURN_IF_ERROR(WriteArray(options.out + "/tokens.npy", NpyDtype::kF32, width, answer.tokens()));
    RETURN_IF_ERROR(WriteArray(options.out + "/fam.npy", NpyDtype::kF32, width, answer.fam()));
  }
  if (session.json()) {
    Json json = ResultJson(result);
    if (options.out.empty()) {
      json["tokens"] = MatrixJson<float>(answer.tokens(), tokens);
      json["fam"] = MatrixJson<float>(answer.fam(), fam);
    }
    session.PrintJson(json);
    return absl::OkStatus();
  }
  std::string text = absl::StrCat("version ", result.version(), "\n");
  for (size_t row = 0; row < tokens && options.out.empty(); ++row) {
    absl::StrAppend(&text, "token ", row, ": ", VectorText(MatrixRow<float>(answer.tokens(), row, tokens)), "\n");
  }
  for (size_t row = 0; row < fam && options.out.empty(); ++row) {
    absl::StrAppend(&text, "fam ", row, ": ", VectorText(MatrixRow<float>(answer.fam(), row, fam)), "\n");
  }
  session.Print(text);
  return absl::OkStatus();
}

absl::Status WriteState(const std::string& folder, const v1::FeedbackState& state) {
  RETURN_IF_ERROR(MakeFolder(folder));
  const uint32_t dk = state.key_dimension();
  const uint32_t dv = state.value_dimension();
  RETURN_IF_ERROR(WriteArray(folder + "/ring_keys.npy", NpyDtype::kF32, dk, state.ring_keys()));
  RETURN_IF_ERROR(WriteArray(folder + "/ring_values.npy", NpyDtype::kF32, dv, state.ring_values()));
  RETURN_IF_ERROR(WriteArray(folder + "/ring_offsets.npy", NpyDtype::kU64, 0, state.ring_offsets()));
  RETURN_IF_ERROR(WriteArray(folder + "/fam_keys.npy", NpyDtype::kF32, dk, state.fam_keys()));
  return WriteArray(folder + "/fam_values.npy", NpyDtype::kF32, dv, state.fam_values());
}

absl::Status FeedbackGet(const FeedbackOptions& options, Session& session) {
  v1::StateOperation operation = options.state.Operation();
  operation.mutable_feedback_get();
  ASSIGN_OR_RETURN(const v1::StateResult result,
                   ApplyOne(options.state.memory, operation, options.write, session));
  const v1::FeedbackState& state = result.feedback_state();
  const uint32_t dk = state.key_dimension();
  const uint32_t dv = state.value_dimension();
  if (!options.out.empty() && result.found()) RETURN_IF_ERROR(WriteState(options.out, state));
  if (session.json()) {
    Json json = ResultJson(result);
    json["last_block"] = result.found() ? Json(state.last_block()) : Json(nullptr);
    if (options.out.empty()) {
      json["ring_keys"] = MatrixJson<float>(state.ring_keys(), RowsOf(state.ring_keys(), dk));
      json["ring_values"] = MatrixJson<float>(state.ring_values(), RowsOf(state.ring_values(), dv));
      json["ring_offsets"] = UnpackColumn<uint64_t>(state.ring_offsets());
      json["fam_keys"] = MatrixJson<float>(state.fam_keys(), RowsOf(state.fam_keys(), dk));
      json["fam_values"] = MatrixJson<float>(state.fam_values(), RowsOf(state.fam_values(), dv));
    }
    session.PrintJson(json);
  } else if (!result.found()) {
    session.Note("there is no such state");
  } else {
    session.Print(absl::StrCat("version ", result.version(), ", last block ", state.last_block(), ", ring of ",
                               RowsOf(state.ring_keys(), dk), " tokens, FAM of ", RowsOf(state.fam_keys(), dk), "\n"));
  }
  return absl::OkStatus();
}

void AddAttend(Command state, Action& action) {
  Command verb = state.AddVerb("feedback-attend", "Attend with the next block of a feedback memory", kMore,
                               "  mneme state feedback-attend chats chat42 layer0 --block 0 --ring 3 "
                                "--queries q.npy \\\n"
                               "      --keys k.npy --values v.npy --fam-queries fq.npy -o json");
  auto options = std::make_shared<FeedbackOptions>();
  AddStateName(verb, options->state);
  const auto file = [&](const char* name, std::string& path, const char* description) {
    return verb.AddOption(name, path, description).Type("FILE.npy");
  };
  verb.AddOption("--block", options->block, "0, 1, 2, ..: the next one, or the last one again").Required()
      .Type("N").Range(int64_t{0}, std::numeric_limits<int64_t>::max());
  file("--queries", options->queries, "[n x dk]").Required();
  file("--keys", options->keys, "[n x dk]").Required();
  file("--values", options->values, "[n x dv]").Required();
  file("--fam-queries", options->fam_queries, "Q^F [f x dk]");
  const Option fam_keys = file("--fam-keys", options->fam_keys, "K^F [f x dk] of the block before; else the state's");
  file("--fam-values", options->fam_values, "V^F [f x dv]").Needs("--fam-keys");
  fam_keys.Needs("--fam-values");
  verb.AddOption("--scale", options->scale, "Of the similarities; 0: 1 / sqrt(dk)").ShowDefault();
  verb.AddOption("--ring", options->ring, "Past blocks that tokens see and that are kept").Type("M")
      .ShowDefault().Range(0U, limits::kMaxRingBlocks);
  verb.AddFlag("--not-causal", options->not_causal, "Tokens see the whole block");
  verb.AddOption("--out", options->out, "Where tokens.npy and fam.npy go, f32; else stdout").Type("FOLDER");
  AddWriteOptions(verb, options->write);
  verb.WhenGiven([options, &action] {
    action = [options](Session& session) { return Attend(*options, session); };
  });
}

}  // namespace

void AddFeedbackVerbs(Command state, Action& action) {
  AddAttend(state, action);
  Command verb = state.AddVerb("feedback-get", "Read the ring and the FAM of a feedback memory", kMore,
                               "  mneme state feedback-get chats chat42 layer0 -o json");
  auto options = std::make_shared<FeedbackOptions>();
  AddStateName(verb, options->state);
  verb.AddOption("--out", options->out, "Where ring_keys.npy, fam_keys.npy, .. go, f32").Type("FOLDER");
  verb.WhenGiven([options, &action] {
    action = [options](Session& session) { return FeedbackGet(*options, session); };
  });
}

}  // namespace mneme::cli
