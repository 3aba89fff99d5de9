/** The caller's own credential, and its `Prefer` header. */
import { describe, expect, test } from "vitest";
import { maxWaitMs, preferredWaitMs } from "../../../src/data-plane/preferred-wait.ts";
import { passedCredential } from "../../../src/data-plane/quota/credential-accounts.ts";

describe("passedCredential", () => {
  test.each([
    ["Authorization", "Bearer a", "Bearer b"],
    ["authorization", "Basic YTpi", "Basic YTpj"],
    ["Private-Token", "a", "b"],
    ["X-Shopify-Access-Token", "a", "b"],
    ["X-Goog-Api-Key", "a", "b"],
    ["apikey", "a", "b"],
    ["X-Auth-Key", "a", "b"],
    ["Cookie", "session=a", "session=b"],
    ["X-Amz-Security-Token", "a", "b"],
  ])("A credential in %s distinguishes two holders, independently of other headers", (name, one, other) => {
    expect(passedCredential([name, one])).not.toBe("");
    expect(passedCredential([name, one])).not.toBe(passedCredential([name, other]));
    expect(passedCredential(["Accept", "a", name, one])).toBe(passedCredential([name, one, "Accept", "b"]));
  });

  test.each([
    ["Idempotency-Key", "a"],
    ["X-Request-Id", "a"],
    ["X-CSRF-Token", "a"],
    ["Accept", "a"],
    ["Sec-WebSocket-Key", "a"],
    ["anthropic-version", "2023-06-01"],
  ])("The value of %s is not a credential", (name, value) => {
    expect(passedCredential([name, value])).toBe("");
  });

  test("Requests with a new signature each time have the account of their holder", () => {
    const aws = (id: string, signature: string) =>
      passedCredential([
        "Authorization",
        `AWS4-HMAC-SHA256 Credential=${id}/20261121/eu-west-1/s3/aws4_request, SignedHeaders=host, Signature=${signature}`,
      ]);
    expect(aws("AKIA1", "aa")).toBe(aws("AKIA1", "bb"));
    expect(aws("AKIA1", "aa")).not.toBe(aws("AKIA2", "aa"));
    const digest = (name: string, nonce: string) =>
      passedCredential(["Authorization", `Digest username="${name}", realm="a", nonce="${nonce}", response="c"`]);
    expect(digest("me", "1")).toBe(digest("me", "2"));
    expect(digest("me", "1")).not.toBe(digest("you", "1"));
  });
});

test.each([
  ["wait=10", 10_000],
  ["respond-async, wait=10", 10_000],
  ["wait=0", 0],
  ['WAIT = "5"; x=1', 5_000],
  ["return=minimal, wait=3, wait=9", 3_000],
  ["wait=999999999", 3_600_000],
  ["wait=-1", undefined],
  ["wait=1.5", undefined],
  ["wait=", undefined],
  ["await=5", undefined],
  ["", undefined],
  [undefined, undefined],
])("Prefer: %s means a maximum wait of %s ms", (value, ms) => {
  expect(preferredWaitMs(value)).toBe(ms);
});

test("What a client asks for limits the sum of its waits, and a setting limits each of them", () => {
  expect(maxWaitMs("wait=10", 3_000, 0)).toBe(10_000);
  expect(maxWaitMs("wait=10", 3_000, 4_000)).toBe(6_000);
  expect(maxWaitMs("wait=10", 3_000, 11_000)).toBe(0);
  expect(maxWaitMs(undefined, 3_000, 4_000)).toBe(3_000);
});
