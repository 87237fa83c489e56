// Receipts of deletions, as a front end tells them. Each replica of a shard has an index and a store of its own, so all
// are asked, at once, and what is told is the least of what they say; while one does not answer, nothing is.
//
// A list is read shard by shard, each from a sequence on:
// 1. Every replica says which receipts it has. A page ends where the first of them stops: what all have beyond that is
//    not known.
// 2. One that lacks what another has may not have applied it: it is asked again, for what it has then. So a deletion
//    that was acknowledged, which a replica at least has applied, is on its page whoever is asked.
// 3. What one lacks then it has forgotten (limits::kMaxReceipts), and it is not listed, as it is NOT_FOUND by itself.
//    What lies below the first that some replica has is passed over at once, not page by page of the others.
#include <algorithm>
#include <future>
#include <iterator>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cluster/remote_deployment_state.h"
#include "common/status_macros.h"
#include "engine/flat_commands.h"
#include "engine/receipts.h"

namespace mneme {
namespace {

using Async = ShardChannel::Async;

// What one replica answered.
struct Told {
  uint32_t replica = 0;
  std::string body;
};

// Asks every replica of a shard at once; what each answered, by number. The first error of them, without those of
// replicas that were drained meanwhile: what those have goes with their processes. UNAVAILABLE when none is left.
absl::StatusOr<std::vector<Told>> AskReplicas(const ShardChannel& shard, ShardChannel::Method method,
                                              const std::string& body, const CallLimits& limits) {
  struct Asked {
    uint32_t replica = 0;
    std::future<absl::StatusOr<std::string>> answer;
  };
  std::vector<Asked> asked;
  for (const ShardChannel::Place& place : shard.places()) {
    asked.push_back({place.replica, shard.AskAhead(method, Question(body, place.replica), limits)});
  }
  absl::Status failed;
  std::vector<Told> answers;
  for (Asked& each : asked) {
    absl::StatusOr<std::string> answer = each.answer.get();  // of all, before anything is returned
    if (absl::IsUnavailable(answer.status()) && !shard.Has(each.replica)) continue;
    failed.Update(answer.status());
    if (answer.ok()) answers.push_back({each.replica, *std::move(answer)});
  }
  RETURN_IF_ERROR(failed);
  if (answers.empty()) return ReplicasChanged(shard.number());
  return answers;
}

// What another replica of the same shard says: each removed the same.
void JoinReplica(const ReceiptStatus& other, ReceiptStatus& least) {
  const uint64_t deleted = least.deleted;
  JoinReceipt(other, least);
  least.deleted = deleted;
}

// What a shard is asked for: receipts of a memory from a sequence on.
struct PageQuestion {
  MemoryNumber memory = 0;
  Sequence first = 0;
  size_t limit = 0;  // 0: only whether there is one
};

// Of one replica.
struct ReplicaPage {
  uint32_t replica = 0;
  ReceiptPage page;
};

Sequence SequenceOf(const ReceiptPage::Item& item) { return item.receipt.parts.front().sequence; }

absl::StatusOr<ReplicaPage> ReadPage(const PageQuestion& question, uint32_t shard, const Told& told) {
  ReplicaPage read{told.replica, {}};
  const ReceiptPage& page = read.page;
  RETURN_IF_ERROR(Unflat(told.body, read.page));
  Sequence least = question.first;
  bool whole = page.items.size() <= question.limit;
  for (const ReceiptPage::Item& item : page.items) {
    const Version& receipt = item.receipt;
    whole = whole && receipt.memory == question.memory && receipt.parts.size() == 1 &&
            receipt.parts.front().shard == shard && SequenceOf(item) >= least;
    if (!whole) break;
    least = SequenceOf(item) + 1;
  }
  if (page.next.has_value()) {
    whole = whole && page.items.size() == question.limit && page.next->shard == shard && page.next->row >= least;
  }
  if (!whole) return absl::DataLossError("a shard's page of receipts is not whole");
  return read;
}

// Where the first of the replicas stops.
Sequence EndOf(const std::vector<ReplicaPage>& pages) {
  Sequence end = std::numeric_limits<Sequence>::max();
  for (const ReplicaPage& each : pages) {
    if (each.page.next.has_value()) end = std::min(end, each.page.next->row);
  }
  return end;
}

// The greatest of what is the first of each replica that has any: one of them has none below it, so none is listed.
Sequence BeginOf(const std::vector<ReplicaPage>& pages) {
  Sequence begin = 0;
  for (const ReplicaPage& each : pages) {
    if (!each.page.items.empty()) {
      begin = std::max(begin, SequenceOf(each.page.items.front()));
    } else if (each.page.next.has_value()) {
      begin = std::max(begin, each.page.next->row);
    }
  }
  return begin;
}

// A receipt as several replicas have it.
struct Joined {
  ReceiptStatus status;
  size_t replicas = 0;
};
using BySequence = std::map<Sequence, Joined>;

BySequence JoinPages(const std::vector<ReplicaPage>& pages, Sequence end) {
  BySequence all;
  for (const ReplicaPage& each : pages) {
    for (const ReceiptPage::Item& item : each.page.items) {
      if (SequenceOf(item) >= end) break;
      Joined& joined = all[SequenceOf(item)];
      if (joined.replicas++ == 0) {
        joined.status = item.status;
      } else {
        JoinReplica(item.status, joined.status);
      }
    }
  }
  return all;
}

// Whether a replica has all that any has below `end`.
bool HasAll(const ReplicaPage& replica, const BySequence& all, Sequence end) {
  const auto& items = replica.page.items;
  const auto below = std::count_if(items.begin(), items.end(),
                                   [end](const ReceiptPage::Item& item) { return SequenceOf(item) < end; });
  return static_cast<size_t>(below) == all.size();
}

// Receipts that all replicas of a shard have; it may be fewer than were asked for, and there be a next.
absl::StatusOr<ReceiptPage> AskForPage(const ShardFan& shards, uint32_t number, const PageQuestion& question,
                                       const CallLimits& limits) {
  const ShardChannel& shard = shards.shard(number);
  const auto body = [&](const Version& at_least) {
    return Flat(question.memory, question.first, uint64_t{question.limit}, shards.PartOf(at_least, number));
  };
  ASSIGN_OR_RETURN(const std::vector<Told> told, AskReplicas(shard, &Async::ListReceipts, body(Version()), limits));
  std::vector<ReplicaPage> pages;
  for (const Told& each : told) {
    ASSIGN_OR_RETURN(ReplicaPage page, ReadPage(question, number, each));
    pages.push_back(std::move(page));
  }
  Sequence end = EndOf(pages);
  BySequence all = JoinPages(pages, end);
  const Sequence last = all.empty() ? 0 : all.rbegin()->first;
  std::vector<ReplicaPage> even;
  for (ReplicaPage& page : pages) {
    if (HasAll(page, all, end)) {
      even.push_back(std::move(page));
      continue;
    }
    const Version at_least{question.memory, {{number, last}}};
    absl::StatusOr<std::string> again =
        shard.AskAndWait(&Async::ListReceipts, Question(body(at_least), page.replica), limits);
    if (absl::IsUnavailable(again.status()) && !shard.Has(page.replica)) continue;  // it was drained meanwhile
    RETURN_IF_ERROR(again.status());
    ASSIGN_OR_RETURN(ReplicaPage caught_up, ReadPage(question, number, {page.replica, *std::move(again)}));
    even.push_back(std::move(caught_up));
  }
  if (even.empty()) return ReplicasChanged(number);
  end = EndOf(even);
  all = JoinPages(even, end);
  ReceiptPage page;
  for (auto& [sequence, joined] : all) {
    if (joined.replicas == even.size()) {
      page.items.push_back({Version{question.memory, {{number, sequence}}}, std::move(joined.status)});
    } else if (sequence > last) {
      end = sequence;  // it came meanwhile: of this one no replica was waited for
      break;
    }
  }
  if (end == std::numeric_limits<Sequence>::max()) return page;
  // Past all that one has forgotten at once, not page by page of those that have it yet.
  page.next = ScanPosition{question.memory, number, 0, std::max(end, BeginOf(even))};
  return page;
}

}  // namespace

absl::StatusOr<ReceiptStatus> RemoteDeployment::Receipt(const MemoryHandle& memory, const Version& receipt,
                                                        const CallLimits& limits) const {
  RETURN_IF_ERROR(state_->shards.CheckVersion(receipt));
  std::optional<ReceiptStatus> whole;
  for (const Version::Part& part : receipt.parts) {
    const std::string body = Flat(memory->number, Version{memory->number, {part}});
    ASSIGN_OR_RETURN(const std::vector<Told> told,
                     AskReplicas(state_->shards.shard(part.shard), &Async::Receipt, body, limits));
    std::optional<ReceiptStatus> least;
    for (const Told& each : told) {
      ReceiptStatus status;
      RETURN_IF_ERROR(Unflat(each.body, status));
      if (least.has_value()) {
        JoinReplica(status, *least);
      } else {
        least = std::move(status);
      }
    }
    if (whole.has_value()) {
      JoinReceipt(*least, *whole);
    } else {
      whole = std::move(least);
    }
  }
  if (!whole.has_value()) return absl::InvalidArgumentError("receipt names no shard");
  return *std::move(whole);
}

absl::StatusOr<ReceiptPage> RemoteDeployment::ListReceipts(const MemoryHandle& memory,
                                                           const std::optional<ScanPosition>& from, size_t limit,
                                                           const CallLimits& limits) const {
  ReceiptPage page;
  for (const uint32_t number : state_->shards.all()) {
    if (from.has_value() && number < from->shard) continue;
    const bool here = from.has_value() && number == from->shard;
    PageQuestion question{memory->number, here ? from->row : 0, 0};
    while (true) {
      RETURN_IF_ERROR(limits.Check());
      // A full page asks on for whether it is the last, as one process does.
      question.limit = limit - page.items.size();
      ASSIGN_OR_RETURN(ReceiptPage more, AskForPage(state_->shards, number, question, limits));
      std::move(more.items.begin(), more.items.end(), std::back_inserter(page.items));
      if (!more.next.has_value()) break;
      if (page.items.size() >= limit) {
        page.next = more.next;
        return page;
      }
      question.first = more.next->row;
    }
  }
  return page;
}

}  // namespace mneme
