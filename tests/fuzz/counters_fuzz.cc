// A matrix of counters as it is stored: its list, and its pieces, which follow it in the input.
#include <utility>

#include "engine/counter_cells.h"
#include "engine/counter_matrix.h"
#include "tests/fuzz/fuzz.h"

namespace mneme::fuzz {
namespace {

using absl::StatusCode;

void ExpectDamage(const absl::Status& status) { ExpectRefusal(status, {StatusCode::kDataLoss}, {"is damaged"}); }

bool Ascend(absl::Span<const CounterCell> cells) {
  for (size_t i = 1; i < cells.size(); ++i) {
    if (!Before(cells[i - 1], cells[i])) return false;
  }
  return true;
}

bool Cells(std::string_view bytes) {
  const auto cells = DecodeCells(bytes);
  if (!cells.ok()) {
    ExpectDamage(cells.status());
    return false;
  }
  Expect(Ascend(*cells), "cells ascend");
  for (const CounterCell& cell : *cells) Expect(cell.count != 0, "no cell is 0");
  Expect(EncodeCells(*cells) == bytes, "cells encode to the same bytes");
  const auto sums = SumCells(*cells, *cells);
  Expect(sums.ok() ? sums->size() == cells->size() : sums.status().code() == StatusCode::kInvalidArgument,
         "twice the cells are as many, or do not fit");
  return true;
}

// u8 1 | u16 bytes of the list | list | pieces of (u16 bytes | bytes), numbered from 1.
bool Matrix(Input in) {
  StateRecord matrix{StateKind::kCounterMatrix, 1, 0, std::string(in.Bytes(in.Number<uint16_t>()))};
  std::vector<std::string> pieces;
  while (!in.empty()) pieces.emplace_back(in.Bytes(in.Number<uint16_t>()));
  const PieceReader read = [&](uint32_t number) -> absl::StatusOr<std::string> {
    if (number == 0 || number > pieces.size()) return absl::DataLossError("a piece is damaged: it is not there");
    return pieces[number - 1];
  };
  const auto numbers = PieceNumbers(matrix);
  if (!numbers.ok()) {
    ExpectDamage(numbers.status());
    return false;
  }
  static_cast<void>(PieceBytes(matrix));
  const auto cells = ReadCells(matrix, read, nullptr);
  if (!cells.ok()) {
    ExpectDamage(cells.status());
    return false;
  }
  const std::vector<uint32_t> rows = {0, 1, 300};
  Expect(ReadCells(matrix, read, &rows).ok(), "some rows can be read where all can");
  const auto whole = WholeMatrix(matrix, read);
  Expect(whole.ok(), "a matrix that can be read can be made whole");
  const std::vector<CounterCell> added = {{{0, 0}, 1}, {{1, 2}, -3}, {{300, 70'000}, 5}};
  const auto next = AddCells(&matrix, read, added);
  Expect(next.ok() || next.status().code() == StatusCode::kInvalidArgument, "cells can be added, or do not fit");
  if (!next.ok()) return true;
  StateRecord changed = matrix;
  changed.payload = next->payload;
  const PieceReader read_changed = [&](uint32_t number) -> absl::StatusOr<std::string> {
    const auto written = next->pieces.find(number);
    if (written == next->pieces.end()) return read(number);
    if (!written->second.has_value()) return absl::DataLossError("a piece is damaged: it is removed");
    return *written->second;
  };
  Expect(ReadCells(changed, read_changed, nullptr).ok(), "what was added to can be read");
  return true;
}

bool Run(std::string_view input) {
  Input in(input);
  const uint8_t kind = in.Byte() % 2;
  const AllocationBound bound(256 * 1024 + 64 * input.size());
  return kind == 0 ? Cells(in.Rest()) : Matrix(in);
}

void AppendSized(const std::string& bytes, std::string& out) {
  const auto size = static_cast<uint16_t>(bytes.size());
  out.append(reinterpret_cast<const char*>(&size), sizeof(size));
  out += bytes;
}

std::string MatrixSeed(const std::vector<CounterCell>& cells) {
  const auto made = AddCells(nullptr, {}, cells);
  Expect(made.ok(), "a seed can be made");
  std::string out(1, '\1');
  AppendSized(made->payload, out);
  for (const auto& [number, piece] : made->pieces) AppendSized(piece.value_or(""), out);
  return out;
}

std::vector<std::string> Seeds() {
  const std::vector<CounterCell> few = {{{0, 1}, -2}, {{0, 2}, 1}, {{300, 4}, INT64_MAX}};
  std::vector<CounterCell> many;
  for (uint32_t row = 0; row < 120; ++row) {
    for (uint32_t column = 0; column < 100; ++column) many.push_back({{row * 3, column * 2}, 1 + row});
  }
  return {'\0' + EncodeCells(few), '\0' + EncodeCells({}), MatrixSeed(few), MatrixSeed(many)};
}

const Registration kTarget({"counters", Run, Seeds});

}  // namespace
}  // namespace mneme::fuzz
