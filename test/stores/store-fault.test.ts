/** What is known of an error of Redis. */
import { expect, test } from "vitest";
import { storeFaultOf } from "../../src/stores/store-fault.ts";

const withCode = (message: string, code: string) => Object.assign(new Error(message), { code });

test.each([
  [new Error("OOM command not allowed when used memory > 'maxmemory'. script: abc"), "full", "OOM"],
  [new Error("WRONGPASS invalid username-password pair or user is disabled."), "refused", "WRONGPASS"],
  [new Error("NOAUTH Authentication required."), "refused", "NOAUTH"],
  [new Error("NOPERM this user has no permissions to run the 'incr' command"), "refused", "NOPERM"],
  [new Error("ERR The user executing the script can't run this command or subcommand script: 1f"), "refused", "NOPERM"],
  [new Error("READONLY You can't write against a read only replica."), "read-only", "READONLY"],
  [new Error("LOADING Redis is loading the dataset in memory"), "loading", "LOADING"],
  [new Error("ERR unknown command 'AUTH', with args beginning with: 'hunter2'"), "error", "ERR"],
  [withCode("connect ECONNREFUSED 127.0.0.1:6379", "ECONNREFUSED"), "unreachable", "ECONNREFUSED"],
  [
    withCode("Hostname/IP does not match certificate's altnames", "ERR_TLS_CERT_ALTNAME_INVALID"),
    "unreachable",
    "ERR_TLS_CERT_ALTNAME_INVALID",
  ],
  [new Error("Socket closed unexpectedly"), "unreachable", undefined],
  [withCode("strange", "redis://user:hunter2@db"), "unreachable", undefined],
  ["hunter2", "error", undefined],
])("%s is the fault %s with the code %s, and its text is not kept", (error, fault, code) => {
  const found = storeFaultOf(error);
  expect([found.fault, found.code]).toEqual([fault, code]);
  expect(`${found.message}${found.code}`).not.toContain("hunter2");
});
