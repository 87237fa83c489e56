// Channel: how a client reaches a server: its address, its transport settings, its deadlines.
#ifndef MNEME_CLIENT_CHANNEL_H_
#define MNEME_CLIENT_CHANNEL_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "security/channel_security.h"

namespace grpc {
class Channel;
}  // namespace grpc

namespace mneme {

// How often and how patiently a failed call is repeated. Only UNAVAILABLE is repeated (the server may not have seen the
// call), and RESOURCE_EXHAUSTED where the server says when (RetryInfo).
struct RetryPolicy {
  int attempts = 4;  // in all, the first included
  absl::Duration first_delay = absl::Milliseconds(100);  // doubled each time, and jittered by +-50 %
  absl::Duration max_delay = absl::Seconds(5);
};

struct ClientOptions {
  // Bound of one call with all its attempts; of one step of a stream. Zero or less: none.
  absl::Duration timeout = absl::Seconds(30);
  RetryPolicy retry;
  // Who the server must prove to be, and who this client is; null: nothing is encrypted or shown.
  std::shared_ptr<const ChannelSecurity> security = nullptr;
};

// Opens a channel to `address`, "HOST:PORT" or "unix:PATH", lazily: no connection is made here. Messages may have
// limits::kMaxMessageBytes; HTTP/2 frames and buffers are sized for batches of vectors instead of for web pages.
// Returns INVALID_ARGUMENT if the address is of neither form, or a token would travel to it for anybody to read.
absl::StatusOr<std::shared_ptr<grpc::Channel>> NewChannel(const std::string& address,
                                                          const ChannelSecurity* security = nullptr);

}  // namespace mneme

#endif  // MNEME_CLIENT_CHANNEL_H_
