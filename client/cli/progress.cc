#include "client/cli/progress.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/table.h"

namespace mneme::cli {
namespace {

using std::chrono::steady_clock;

constexpr size_t kBarWidth = 24;

std::string Bar(double share) {
  const auto filled = static_cast<size_t>(share * kBarWidth);
  std::string bar(filled, '=');
  if (filled < kBarWidth) bar += '>';
  bar.resize(kBarWidth, ' ');
  return "[" + bar + "]";
}

}  // namespace

Progress::Progress(bool live, std::string what, std::string unit, uint64_t total)
    : live_(live), what_(std::move(what)), unit_(std::move(unit)), total_(total), start_(steady_clock::now()) {}

Progress::~Progress() {
  if (shown_) std::fputs("\r\x1b[K", stderr);
}

double Progress::seconds() const { return std::chrono::duration<double>(steady_clock::now() - start_).count(); }

bool Progress::Due() {
  if (!live_) return false;
  const auto now = steady_clock::now();
  if (shown_ && now - drawn_ < std::chrono::milliseconds(100)) return false;
  drawn_ = now;
  return true;
}

void Progress::Draw(const std::string& line) {
  shown_ = true;
  std::fprintf(stderr, "\r%s\x1b[K", line.c_str());
  std::fflush(stderr);
}

void Progress::SetLine(const std::string& line) {
  if (Due()) Draw(line);
}

void Progress::Set(uint64_t done) {
  if (!Due()) return;
  const double rate = static_cast<double>(done) / std::max(seconds(), 1e-3);
  const std::string speed = absl::StrCat(HumanCount(static_cast<uint64_t>(rate)), " ", unit_, "/s");
  if (total_ == 0) return Draw(absl::StrCat(what_, "  ", HumanCount(done), " ", unit_, "  ", speed));
  const double share = std::min(1.0, static_cast<double>(done) / static_cast<double>(total_));
  const double left = rate > 0 ? static_cast<double>(total_ - std::min(done, total_)) / rate : 0;
  Draw(absl::StrFormat("%s  %s %3.0f %%  %s of %s %s  %s  %s left", what_, Bar(share), share * 100, HumanCount(done),
                       HumanCount(total_), unit_, speed, HumanSeconds(left)));
}

}  // namespace mneme::cli
