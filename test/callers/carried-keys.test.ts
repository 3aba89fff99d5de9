/** Keys of the gateway in the parts of a request that go to an upstream. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  carriesKey,
  cutCookies,
  cutKeyParameters,
  cutProtocols,
  holdsKey,
  maskKeySegments,
} from "../../src/callers/carried-keys.ts";
import { createIssuedKey } from "../../src/callers/issued-key.ts";

const OWN = "own-key-0123456789abcdef";
/** As `openssl rand -base64` writes keys. */
const BASE64 = "Zm/9+k/20w26113AHt/Q7Lxj1k2c3d4e5f6g7h8i9j==";
const ISSUED = createIssuedKey();
const isKey = (text: string) => text === OWN || text === BASE64 || text === ISSUED;
const base64 = (text: string) => Buffer.from(text).toString("base64");
const twice = (text: string) => text.replace(/./g, (each) => `%25${each.charCodeAt(0).toString(16)}`);
const once = (text: string) => text.replace(/./g, (each) => `%${each.charCodeAt(0).toString(16)}`);

describe.each([
  ["an own key", OWN],
  ["an issued key", ISSUED],
])("%s", (_, KEY) => {
  test.each([
    KEY,
    `Bearer ${KEY}`,
    `Token\t${KEY}`,
    `Custom   ${KEY} `,
    `"${KEY}"`,
    `Token token="${KEY}"`,
    `Token token=${KEY}`,
    `a=b=${KEY}`,
    `Basic ${base64(`user:${KEY}`)}`,
    `basic ${base64(`${KEY}:`)}`,
    `Basic ${base64(`${KEY}:x-oauth-basic`)}`,
    `Basic ${base64(KEY)}`,
    `AWS4-HMAC-SHA256 Credential=${KEY}/20260101/eu/s3/aws4_request`,
    `AWS4-HMAC-SHA256 SignedHeaders=host, Credential=${KEY}/20260101/eu/s3/aws4_request, Signature=0`,
    `${KEY}/20260101/eu/s3/aws4_request`,
    `AWS ${KEY}:c2lnbmF0dXJl`,
    once(KEY),
    once(`${KEY}/20260101/eu/s3/aws4_request`),
    `Bearer%20${KEY}`,
    twice(KEY),
  ])("A value that holds a key is found: %s", (value) => {
    expect(holdsKey(value, isKey)).toBe(true);
    expect(carriesKey(value, isKey)).toBe(true);
  });

  test.each([
    [`a=1; key=${KEY}; b=2`, "a=1; b=2"],
    [`key=${KEY}`, undefined],
    [`key=${KEY};a=1`, "a=1"],
    [`a=1;  b="2" ;key="${KEY}"`, `a=1;  b="2"`],
    [`a=1; auth=Bearer%20${once(KEY)}`, "a=1"],
    [`${KEY}=1; a=1`, "a=1"],
    [`a=1; auth=Basic%20${base64(`x:${KEY}`)}`, "a=1"],
  ])("Only the pair with a key is cut out of Cookie: %s", (value, expected) => {
    expect(cutCookies(value, isKey)).toBe(expected);
  });

  test.each([
    [`realtime, openai-insecure-api-key.${KEY}, openai-beta.realtime-v1`, "realtime, openai-beta.realtime-v1"],
    [`${KEY}`, undefined],
    [`graphql-ws,${KEY}`, "graphql-ws"],
    [`a.b.${KEY},x`, "x"],
    [`x, base64url.bearer.authorization.k8s.io.${Buffer.from(KEY).toString("base64url")}`, "x"],
    ["realtime,  graphql-ws", "realtime,  graphql-ws"],
  ])("Only the item with a key is cut out of a list of subprotocols: %s", (value, expected) => {
    expect(cutProtocols(value, isKey)).toBe(expected);
  });

  test.each([
    [`a=%2F&key=${KEY}&b=+`, "a=%2F&b=+"],
    [`key=${KEY}`, undefined],
    [`${KEY}&x`, "x"],
    [`${KEY}=1&x`, "x"],
    [`x=1&k=${once(KEY)}`, "x=1"],
    [`x=1&k=${twice(KEY)}`, "x=1"],
    [`x=1&k=${once(twice(KEY))}`, "x=1"],
    [`x=1&k=Bearer+${KEY}`, "x=1"],
    [`x=1&k=Bearer%20${KEY}`, "x=1"],
    [`x=1&k=1;l=${KEY}`, "x=1"],
    [`x=1&X-Amz-Credential=${KEY}%2F20260101%2Feu%2Fs3%2Faws4_request`, "x=1"],
    [`x=1&k=%zz${"%25".repeat(50)}${KEY}`, KEY === ISSUED ? "x=1" : `x=1&k=%zz${"%25".repeat(50)}${KEY}`],
  ])("Only the parameter with a key is cut out of a query: %s", (query, expected) => {
    expect(cutKeyParameters(query, isKey)).toBe(expected);
  });

  test.each([
    [`/${KEY}`, "/***"],
    [`/a/${KEY}/b`, "/a/***/b"],
    [`/a/${once(KEY)}/b`, "/a/***/b"],
    [`/a/${twice(KEY)}`, "/a/***"],
    [`/a%2F${KEY}/b`, "/***/b"],
    [`/a;token=${KEY}/b`, "/***/b"],
    [`//${KEY}//`, "//***//"],
  ])("A segment with a key is found in a path: %s", (path, masked) => {
    expect(maskKeySegments(path, isKey)).toBe(masked);
  });
});

test.each([
  `AWS4-HMAC-SHA256 Credential=${BASE64}/20260101/eu/s3/aws4_request, SignedHeaders=host, Signature=0`,
  `AWS4-HMAC-SHA256 SignedHeaders=host, Credential=${BASE64}/20260101/eu/s3/aws4_request`,
  `${BASE64}/20260101/eu/s3/aws4_request`,
  once(`${BASE64}/20260101/eu/s3/aws4_request`),
  `AWS ${BASE64}:c2lnbmF0dXJl`,
])("A key with slashes in it is found as the access key id of a signature: %s", (value) => {
  expect(holdsKey(value, isKey)).toBe(true);
  expect(carriesKey(value, isKey)).toBe(true);
  expect(cutKeyParameters(`a=1&X-Amz-Credential=${encodeURIComponent(value)}`, isKey)).toBe("a=1");
});

test("An issued key is found in the middle of any text", () => {
  for (const text of [`/bot${ISSUED}/getMe`, `a${ISSUED}b`, `Digest username="${ISSUED}", realm="x"`]) {
    expect(holdsKey(text, isKey)).toBe(true);
  }
  expect(maskKeySegments(`/bot${ISSUED}/getMe`, isKey)).toBe("/***/getMe");
});

test("Ordinary text is hardly ever hashed: it is no key by its length or its form", () => {
  const asked: string[] = [];
  const note = (text: string) => {
    if (text.length === OWN.length || (text.length === ISSUED.length && text.startsWith("bp_"))) asked.push(text);
    return false;
  };
  const headers = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
    "gzip, deflate, br, zstd",
    'max-age=0, "x"',
    "application/vnd.github+json",
  ];
  for (const value of headers) holdsKey(value, note);
  cutKeyParameters("page=2&per_page=100&q=is%3Aopen+label%3Abug&sort=updated", note);
  maskKeySegments("/repos/octocat/hello-world/issues/1347/comments", note);
  expect(asked.length).toBeLessThan(2);
});

test("Text without a key stays the same byte for byte, and no text makes the search throw", () => {
  const text = fc.string({ unit: "binary-ascii", maxLength: 80 });
  fc.assert(
    fc.property(text, fc.constantFrom("", "Basic ", "Bearer ", "%25%", "a=b;", "x."), (rest, start) => {
      const value = start + rest;
      expect(cutCookies(value, isKey)).toBe(value);
      expect(cutProtocols(value, isKey)).toBe(value);
      expect(cutKeyParameters(value, isKey)).toBe(value);
      expect(maskKeySegments(value, isKey)).toBe(value);
      expect(holdsKey(value, isKey)).toBe(false);
    }),
  );
});

test("The longest hostile values take a few milliseconds", () => {
  for (const piece of [
    "=",
    "%25",
    "bp_",
    "a.",
    ";a",
    "/a",
    "&a",
    ",",
    " ",
    "%2525252541+b;",
    "bp_0123456789abcdefgh ",
    "/20260101",
  ]) {
    const value = piece.repeat(Math.ceil(16_000 / piece.length));
    const since = performance.now();
    holdsKey(`Basic ${value}`, isKey);
    cutCookies(value, isKey);
    cutProtocols(value, isKey);
    cutKeyParameters(value, isKey);
    maskKeySegments(value, isKey);
    expect(performance.now() - since, piece).toBeLessThan(200);
  }
});

test.each([
  [
    "as the access key id of a signature",
    (key: string) => `AWS4-HMAC-SHA256 Credential=${key}/20260101/eu/s3/aws4_request, SignedHeaders=host`,
  ],
  [
    "after another part of it",
    (key: string) => `AWS4-HMAC-SHA256 SignedHeaders=host, Credential=${key}/20260101/eu/s3/aws4_request`,
  ],
  ["as that of a presigned URL", (key: string) => `${key}%2F20260101%2Feu%2Fs3%2Faws4_request`],
])("A key with slashes is found %s", (_, write) => {
  const key = "own/key/0123456789abcdef";
  const isIt = (text: string) => text === key;
  expect(carriesKey(write(key), isIt)).toBe(true);
  const scope = encodeURIComponent(`${key}/20260101/eu/s3/aws4_request`);
  expect(cutKeyParameters(`a=1&X-Amz-Credential=${scope}`, isIt)).toBe("a=1");
  expect(carriesKey(write("another/key/0123456789"), isIt)).toBe(false);
});
