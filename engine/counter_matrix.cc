// An addition:
// 1. The cells to add are split by the piece in which they lie; other pieces stay as they are.
// 2. A piece that cells are added to is read and summed up. Where it comes out small, and the one after it is not
//    large, both become one.
// 3. It is written under its number, or, where it is too large, in parts, the others under new numbers: no number is
//    ever given twice, so that a fork that still reads the old list finds the old pieces below.
#include "engine/counter_matrix.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "storage/byte_codec.h"

namespace mneme {
namespace {

using format::ByteReader;
using format::ByteWriter;

// What an answer holds of a cell.
constexpr size_t kAnsweredCellBytes = sizeof(uint32_t) + sizeof(int64_t);

struct Piece {
  CellPlace first;  // of the first piece: (0, 0)
  uint32_t number = 0;
  uint64_t bytes = 0;
};

struct PieceList {
  uint32_t next_number = 1;
  std::vector<Piece> pieces;
};

absl::Status Damaged() { return absl::DataLossError("the payload of a state is damaged"); }

std::string EncodeList(const PieceList& list) {
  uint64_t bytes = 0;
  for (const Piece& piece : list.pieces) bytes += piece.bytes;
  std::string out;
  ByteWriter writer(out);
  writer.Varint(bytes);
  writer.Varint(list.next_number);
  writer.Varint(list.pieces.size());
  uint32_t row = 0;
  for (const Piece& piece : list.pieces) {
    writer.Varint(piece.first.row - row);
    writer.Varint(piece.first.column);
    writer.Varint(piece.number);
    writer.Varint(piece.bytes);
    row = piece.first.row;
  }
  return out;
}

absl::StatusOr<PieceList> DecodeList(std::string_view payload) {
  ByteReader reader(payload);
  PieceList list;
  uint64_t bytes = reader.Varint();
  const uint64_t next_number = reader.Varint();
  const uint64_t count = reader.Varint();
  const bool numbered = next_number > 0 && next_number <= limits::kMaxPieceNumber;
  if (!reader.ok() || !numbered || count > payload.size()) return Damaged();
  list.next_number = static_cast<uint32_t>(next_number);
  uint64_t row = 0;
  for (uint64_t i = 0; i < count && reader.ok(); ++i) {
    row += reader.Varint();
    const uint64_t column = reader.Varint();
    const uint64_t number = reader.Varint();
    Piece piece{{static_cast<uint32_t>(row), static_cast<uint32_t>(column)}, static_cast<uint32_t>(number),
                reader.Varint()};
    const bool fits = row <= UINT32_MAX && column <= UINT32_MAX && number > 0 && number < next_number;
    const bool ascends = list.pieces.empty() ? piece.first == CellPlace{} : list.pieces.back().first < piece.first;
    if (!fits || !ascends) return Damaged();
    bytes -= piece.bytes;
    list.pieces.push_back(piece);
  }
  if (!reader.AtEnd() || bytes != 0) return Damaged();
  return list;
}

// Some cells, all of which lie in the piece: another's would be written where nobody looks for them.
absl::StatusOr<std::vector<CounterCell>> ReadPiece(const PieceList& list, size_t i, const PieceReader& read) {
  ASSIGN_OR_RETURN(const std::string bytes, read(list.pieces[i].number));
  ASSIGN_OR_RETURN(std::vector<CounterCell> cells, DecodeCells(bytes));
  const bool inside = !cells.empty() && cells.front().place >= list.pieces[i].first &&
                      (i + 1 == list.pieces.size() || cells.back().place < list.pieces[i + 1].first);
  if (!inside) return Damaged();
  return cells;
}

// A piece that was read and summed up, and may take in the one after it.
struct OpenPiece {
  CellPlace first;
  uint32_t number = 0;
  std::vector<CounterCell> cells;

  bool IsSmall() const { return EncodeCells(cells).size() < kMinPieceBytes; }
};

// Writes a matrix piece by piece, in their order.
class PieceWriter {
 public:
  explicit PieceWriter(uint32_t next_number) { list_.next_number = next_number; }

  void Keep(const Piece& piece) { Append(piece); }
  void Remove(uint32_t number) { pieces_[number] = std::nullopt; }
  void Write(const OpenPiece& piece) { Write(piece.first, piece.number, piece.cells); }
  // The cells from `first` on, under the number of a piece that they take the place of; 0: a new one.
  void Write(CellPlace first, uint32_t number, absl::Span<const CounterCell> cells) {
    std::string bytes = EncodeCells(cells);
    if (bytes.size() > kMaxPieceBytes && cells.size() > 1) {
      // Halves: what fills from one end on leaves its pieces half full, what fills everywhere three quarters.
      const size_t half = cells.size() / 2;
      Write(first, number, cells.first(half));
      return Write(cells[half].place, 0, cells.subspan(half));
    }
    if (cells.empty()) {
      if (number != 0) Remove(number);
      return;
    }
    if (number == 0) number = list_.next_number++;
    Append({first, number, bytes.size()});
    pieces_[number] = std::move(bytes);
  }
  NextMatrix Take() && { return {EncodeList(list_), std::move(pieces_)}; }

 private:
  void Append(Piece piece) {
    if (list_.pieces.empty()) piece.first = {};
    list_.pieces.push_back(piece);
  }

  PieceList list_;
  StatePieces pieces_;
};

absl::StatusOr<PieceList> ListOf(const StateRecord* matrix) {
  if (matrix == nullptr || matrix->kind != StateKind::kCounterMatrix) return PieceList{};
  return DecodeList(matrix->payload);
}

// Those of `added` that lie before the piece at `next`; they are taken from it.
absl::Span<const CounterCell> TakeBefore(const PieceList& list, size_t next, absl::Span<const CounterCell>& added) {
  const auto end = next == list.pieces.size()
                       ? added.end()
                       : std::lower_bound(added.begin(), added.end(), CounterCell{list.pieces[next].first, 0}, Before);
  const auto taken = added.first(static_cast<size_t>(end - added.begin()));
  added.remove_prefix(taken.size());
  return taken;
}

// True when a piece may hold cells of the rows, which ascend.
bool MayHold(const PieceList& list, size_t i, const std::vector<uint32_t>& rows) {
  const auto row = std::lower_bound(rows.begin(), rows.end(), list.pieces[i].first.row);
  if (row == rows.end()) return false;
  return i + 1 == list.pieces.size() || CellPlace{*row, 0} < list.pieces[i + 1].first;
}

// Those of `cells` that lie in one of the rows, which ascend; all when `rows` is null.
absl::Status AppendRows(const std::vector<CounterCell>& cells, const std::vector<uint32_t>* rows,
                        std::vector<CounterCell>& out) {
  size_t at = 0;
  for (const CounterCell& cell : cells) {
    while (rows != nullptr && at < rows->size() && (*rows)[at] < cell.place.row) ++at;
    if (rows != nullptr && (at == rows->size() || (*rows)[at] != cell.place.row)) continue;
    out.push_back(cell);
  }
  return CheckAnsweredCells(out.size());
}

}  // namespace

absl::Status CheckAnsweredCells(size_t cells) {
  constexpr size_t kBound = limits::kMaxMessageBytes / kAnsweredCellBytes;
  if (cells <= kBound) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("rows have more than ", kBound, " cells, the bound of an answer; ask for fewer rows"));
}

absl::StatusOr<NextMatrix> AddCells(const StateRecord* matrix, const PieceReader& read,
                                    absl::Span<const CounterCell> added) {
  ASSIGN_OR_RETURN(const PieceList list, ListOf(matrix));
  PieceWriter writer(list.next_number);
  if (list.pieces.empty()) {
    std::vector<CounterCell> cells;
    if (matrix != nullptr && matrix->kind == StateKind::kCounters) {
      ASSIGN_OR_RETURN(cells, DecodeCells(matrix->payload));
    }
    ASSIGN_OR_RETURN(cells, SumCells(cells, added));
    writer.Write({}, 0, cells);
    return std::move(writer).Take();
  }
  std::optional<OpenPiece> open;
  for (size_t i = 0; i < list.pieces.size(); ++i) {
    const Piece& piece = list.pieces[i];
    const auto of_piece = TakeBefore(list, i + 1, added);
    const bool wanted = open.has_value() && open->IsSmall();
    if (of_piece.empty() && !(wanted && piece.bytes <= kMaxPieceBytes / 2)) {
      if (open.has_value()) writer.Write(*std::exchange(open, std::nullopt));
      writer.Keep(piece);
      continue;
    }
    ASSIGN_OR_RETURN(std::vector<CounterCell> cells, ReadPiece(list, i, read));
    ASSIGN_OR_RETURN(cells, SumCells(cells, of_piece));
    if (wanted && EncodeCells(cells).size() <= kMaxPieceBytes / 2) {
      open->cells.insert(open->cells.end(), cells.begin(), cells.end());
      writer.Remove(piece.number);
      continue;
    }
    if (open.has_value()) writer.Write(*open);
    open = {piece.first, piece.number, std::move(cells)};
  }
  if (open.has_value()) writer.Write(*open);
  return std::move(writer).Take();
}

absl::StatusOr<std::vector<CounterCell>> ReadCells(const StateRecord& matrix, const PieceReader& read,
                                                   const std::vector<uint32_t>* rows) {
  std::vector<CounterCell> found;
  if (matrix.kind == StateKind::kCounters) {
    ASSIGN_OR_RETURN(const std::vector<CounterCell> cells, DecodeCells(matrix.payload));
    RETURN_IF_ERROR(AppendRows(cells, rows, found));
    return found;
  }
  ASSIGN_OR_RETURN(const PieceList list, DecodeList(matrix.payload));
  for (size_t i = 0; i < list.pieces.size(); ++i) {
    if (rows != nullptr && !MayHold(list, i, *rows)) continue;
    ASSIGN_OR_RETURN(const std::vector<CounterCell> cells, ReadPiece(list, i, read));
    RETURN_IF_ERROR(AppendRows(cells, rows, found));
  }
  return found;
}

absl::StatusOr<StateRecord> WholeMatrix(const StateRecord& matrix, const PieceReader& read) {
  ASSIGN_OR_RETURN(const PieceList list, DecodeList(matrix.payload));
  std::vector<CounterCell> cells;
  for (size_t i = 0; i < list.pieces.size(); ++i) {
    ASSIGN_OR_RETURN(const std::vector<CounterCell> more, ReadPiece(list, i, read));
    cells.insert(cells.end(), more.begin(), more.end());
  }
  StateRecord whole = matrix;
  whole.kind = StateKind::kCounters;
  whole.payload = EncodeCells(cells);
  return whole;
}

absl::StatusOr<std::vector<uint32_t>> PieceNumbers(const StateRecord& matrix) {
  ASSIGN_OR_RETURN(const PieceList list, DecodeList(matrix.payload));
  std::vector<uint32_t> numbers;
  for (const Piece& piece : list.pieces) numbers.push_back(piece.number);
  return numbers;
}

uint64_t PieceBytes(const StateRecord& matrix) { return ByteReader(matrix.payload).Varint(); }

}  // namespace mneme
