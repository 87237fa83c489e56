// An answer between processes that is sent from where it lies is, on the wire, the message that it is.
#include "server/raw_message.h"

#include <grpcpp/impl/grpc_library.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace mneme {
namespace {

std::string BytesOf(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(buffer.Dump(&slices).ok());
  std::string bytes;
  for (const grpc::Slice& slice : slices) bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return bytes;
}

TEST(RawMessageTest, AnAnswerThatIsMovedIsTheMessageThatItWas) {
  const grpc::internal::GrpcLibraryInitializer loaded;
  const grpc::GrpcLibraryCodegen library;
  for (const int size : {0, 1, 200, 16'383, 16'384, 2'100'000}) {
    std::string body(static_cast<size_t>(size), 'x');
    for (size_t i = 0; i < body.size(); ++i) body[i] = static_cast<char>(i * 7);
    internal::v1::Answer answer;
    answer.set_body(body);
    const std::string expected = answer.SerializeAsString();
    grpc::ByteBuffer bytes;
    ASSERT_TRUE(SerializeMessage(std::move(answer), &bytes).ok());
    EXPECT_EQ(bytes.Length(), expected.size());
    EXPECT_TRUE(BytesOf(bytes) == expected) << size;
    internal::v1::Answer read;
    ASSERT_TRUE(ParseMessage(bytes, &read).ok());
    EXPECT_TRUE(read.body() == body) << size;
  }
}

}  // namespace
}  // namespace mneme
