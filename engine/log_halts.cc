#include "engine/log_halts.h"

#include <algorithm>
#include <chrono>

#include "absl/strings/str_cat.h"

namespace mneme {
namespace {

// How often who waits looks whether he still may.
constexpr std::chrono::milliseconds kLook{50};

}  // namespace

absl::Status LogHalts::At(LogOffset offset, const CallLimits& limits, const std::function<absl::Status()>& over,
                          Work work) {
  const auto halt = std::make_shared<Halt>(offset, std::move(work));
  MutexLock lock(&mutex_);
  waiting_.push_back(halt);
  while (!halt->ended.has_value()) {
    absl::Status status = limits.Check();
    if (status.ok()) status = over();
    // Work that has begun borrows from who waits for it.
    if (!status.ok() && !halt->taken) {
      std::erase(waiting_, halt);
      return status;
    }
    ended_.AwaitFor(&mutex_, kLook, [&halt] { return halt->ended.has_value(); });
  }
  return *halt->ended;
}

bool LogHalts::Wanted(LogOffset next) const {
  MutexLock lock(&mutex_);
  return std::any_of(waiting_.begin(), waiting_.end(), [next](const auto& halt) { return halt->offset <= next; });
}

void LogHalts::Run(LogOffset from, LogOffset next) {
  std::vector<std::shared_ptr<Halt>> taken;
  {
    MutexLock lock(&mutex_);
    for (const auto& halt : waiting_) {
      if (halt->offset > next) continue;
      halt->taken = true;
      taken.push_back(halt);
    }
    std::erase_if(waiting_, [](const auto& halt) { return halt->taken; });
  }
  for (const auto& halt : taken) {
    absl::Status ended = halt->offset >= from
                             ? halt->work()
                             : absl::OutOfRangeError(absl::StrCat("offset is ", halt->offset, "; this replica has gone "
                                                                  "on to ", from));
    MutexLock lock(&mutex_);
    halt->ended = std::move(ended);
  }
  ended_.NotifyAll();
}

}  // namespace mneme
