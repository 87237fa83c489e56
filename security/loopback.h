// Which addresses are of this machine.
#ifndef MNEME_SECURITY_LOOPBACK_H_
#define MNEME_SECURITY_LOOPBACK_H_

#include <string>

namespace mneme {

// 127.0.0.0/8, ::1 and "localhost". Other names are never trusted: "127.0.0.1.example.org" may be any machine.
bool IsLoopback(const std::string& host);
// Whether what is sent to "HOST:PORT", "[IPV6]:PORT" or "unix:PATH" stays on this machine.
bool StaysOnMachine(const std::string& address);

}  // namespace mneme

#endif  // MNEME_SECURITY_LOOPBACK_H_
