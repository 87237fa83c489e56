// Names that point to memories.
#ifndef MNEME_SERVER_ALIAS_HANDLERS_H_
#define MNEME_SERVER_ALIAS_HANDLERS_H_

#include "absl/status/status.h"
#include "mneme/v1/admin.pb.h"
#include "server/call_record.h"

namespace mneme {

absl::Status HandleSetAlias(const CallContext& call, const v1::SetAliasRequest& request,
                            v1::SetAliasResponse* response);
absl::Status HandleDropAlias(const CallContext& call, const v1::DropAliasRequest& request,
                             v1::DropAliasResponse* response);
absl::Status HandleListAliases(const CallContext& call, const v1::ListAliasesRequest& request,
                               v1::ListAliasesResponse* response);

}  // namespace mneme

#endif  // MNEME_SERVER_ALIAS_HANDLERS_H_
