/** Where a caller may put its key: in the place of the service's own credential. */
import { describe, expect, test } from "vitest";
import { createKeyPlaces, type KeyedRequest, type KeyPlaces } from "../../src/callers/key-places.ts";
import { authSchema } from "../../src/config/auth-schema.ts";
import { placementsOf } from "../../src/config/placements.ts";

const KEY = "a-key-0123456789abcdef";
const base64 = (text: string) => Buffer.from(text).toString("base64");

function placesOf(auth: object): KeyPlaces {
  return createKeyPlaces(placementsOf(authSchema.parse(auth))) as KeyPlaces;
}

function keysIn(auth: object, request: Partial<KeyedRequest>): readonly string[] {
  return placesOf(auth)
    .read({ rawHeaders: [], headers: {}, query: undefined, path: "/", ...request })
    .flat();
}

const secret = { tokenEnvVar: "SECRET" };
const secrets = { token: { envVar: "SECRET" } };
const HEADER = { type: "api-key", headerName: "X-Goog-Api-Key", ...secret };
const SCHEME = { type: "api-key", headerName: "Authorization", scheme: "DeepL-Auth-Key", ...secret };
const QUERY = { type: "api-key", queryParam: "key", ...secret };
const BASIC = { type: "basic", ...secret };
const AWS = {
  ...{ type: "aws-sigv4", region: "r", service: "s3" },
  ...{ accessKeyIdEnvVar: "ID", secretAccessKeyEnvVar: "SECRET", sessionTokenEnvVar: "TOKEN" },
};
const SCOPE = "/20261130/eu-central-1/s3/aws4_request";
const custom = (places: object) => ({ type: "custom", secrets, ...places });

describe("place of a key", () => {
  test.each([
    ["header", HEADER, { rawHeaders: ["x-goog-api-key", KEY] }],
    ["header of another case and spacing", HEADER, { rawHeaders: ["X-GOOG-API-KEY", ` ${KEY}\t`] }],
    ["scheme", SCHEME, { rawHeaders: ["Authorization", `deepl-auth-key ${KEY}`] }],
    ["header without its scheme", SCHEME, { rawHeaders: ["Authorization", KEY] }],
    [
      "bare Authorization",
      { type: "api-key", headerName: "Authorization", ...secret },
      { rawHeaders: ["authorization", KEY] },
    ],
    [
      "signature",
      AWS,
      { rawHeaders: ["authorization", `AWS4-HMAC-SHA256 Credential=${KEY}${SCOPE}, SignedHeaders=a, Signature=0`] },
    ],
    [
      "signature in another order",
      AWS,
      { rawHeaders: ["Authorization", `AWS4-HMAC-SHA256 SignedHeaders=a,Credential=${KEY}${SCOPE}`] },
    ],
    [
      "signature by an asymmetric key",
      AWS,
      { rawHeaders: ["authorization", `AWS4-ECDSA-P256-SHA256 Credential=${KEY}/20261130/s3/aws4_request`] },
    ],
    ["parameter", QUERY, { query: `a=1&key=${KEY}` }],
    ["percent-encoded parameter", QUERY, { query: `k%65y=${KEY.replace("a", "%61")}` }],
    ["password of Basic", BASIC, { rawHeaders: ["Authorization", `Basic ${base64(`anyone:${KEY}`)}`] }],
    ["user name of Basic", BASIC, { rawHeaders: ["Authorization", `basic ${base64(`${KEY}:`)}`] }],
    ["user name of Basic, without a colon", BASIC, { rawHeaders: ["Authorization", `basic ${base64(KEY)}`] }],
    ["user name of x-oauth-basic", BASIC, { rawHeaders: ["Authorization", `Basic ${base64(`${KEY}:x-oauth-basic`)}`] }],
    ["custom header", custom({ headers: { "X-Key": "v1={token};" } }), { rawHeaders: ["x-key", `v1=${KEY};`] }],
    ["custom header, alone", custom({ headers: { "X-Key": "v1={token};" } }), { rawHeaders: ["x-key", KEY] }],
    ["base64", custom({ headers: { "X-Key": "{token|base64}" } }), { rawHeaders: ["x-key", base64(KEY)] }],
    [
      "custom Basic",
      custom({ headers: { Authorization: "Basic {token|base64}" } }),
      { rawHeaders: ["Authorization", `Basic ${base64(`x:${KEY}`)}`] },
    ],
    ["custom parameter", custom({ query: { sig: "k-{token}" } }), { query: `sig=k-${KEY}` }],
    ["path", custom({ path: "/bot{token}" }), { path: `/bot${KEY}/getMe` }],
    ["path alone", custom({ path: "/bot{token}" }), { path: `/bot${KEY}` }],
    ["path with more", custom({ path: "/v1/{token}/api" }), { path: `/v1/${KEY.replace("a", "%61")}/api/x/y` }],
    ["second path", custom({ path: ["/file/bot{token}", "/bot{token}"] }), { path: `/bot${KEY}/x` }],
    [
      "subprotocol",
      custom({ subprotocol: "openai-insecure-api-key.{token}" }),
      { rawHeaders: ["Sec-WebSocket-Protocol", `realtime, openai-insecure-api-key.${KEY}`] },
    ],
  ])("A key is read from the place of the credential: %s", (_, auth, request) => {
    expect(keysIn(auth, request)).toEqual([KEY]);
  });

  test.each([
    ["another header", HEADER, { rawHeaders: ["x-api-key", KEY] }],
    ["an underscore twin", HEADER, { rawHeaders: ["x_goog_api_key", KEY] }],
    ["another parameter", QUERY, { query: `kez=${KEY}&a=key` }],
    ["another scheme", SCHEME, { rawHeaders: ["Authorization", `Digest ${KEY}`] }],
    [
      "Basic for a header",
      { type: "bearer", ...secret },
      { rawHeaders: ["Authorization", `Basic ${base64(`x:${KEY}`)}`] },
    ],
    ["a word in the place of a path", custom({ path: "/bot{token}" }), { path: "/bottleneck/1" }],
    ["another path", custom({ path: "/bot{token}" }), { path: `/x/bot${KEY}` }],
    [
      "another subprotocol",
      custom({ subprotocol: "k.{token}" }),
      { rawHeaders: ["Sec-WebSocket-Protocol", `realtime, ${KEY}`] },
    ],
    ["an empty place", HEADER, { rawHeaders: ["x-goog-api-key", ""] }],
    ["a malformed encoding", custom({ path: "/bot{token}" }), { path: `/bot%zz${KEY}/x` }],
    ["no query", QUERY, {}],
  ])("Nothing is read from %s", (_, auth, request) => {
    expect(keysIn(auth, request)).toEqual([]);
  });

  test.each([
    ["cross-site", []],
    ["same-site", []],
    ["same-origin", [KEY]],
    ["none", [KEY]],
  ])("A pair that a browser may have stored is not read from a request of another site: %s", (site, keys) => {
    const rawHeaders = ["Authorization", `Basic ${base64(`x:${KEY}`)}`];
    expect(keysIn(BASIC, { rawHeaders, headers: { "sec-fetch-site": site } })).toEqual(keys);
  });

  test("The password of Basic is no key of the caller where a browser does not say which page sent the request", () => {
    const rawHeaders = ["Authorization", `Basic ${base64(`x:${KEY}`)}`];
    const browser = { "user-agent": "Mozilla/5.0 (X11)", host: "gateway.lan:3420" };
    expect(keysIn(BASIC, { rawHeaders, headers: browser })).toEqual([]);
    expect(keysIn(BASIC, { rawHeaders, headers: { ...browser, origin: "https://evil.test" } })).toEqual([]);
    expect(keysIn(BASIC, { rawHeaders, headers: { ...browser, origin: "http://gateway.lan:3420" } })).toEqual([KEY]);
    expect(keysIn(BASIC, { rawHeaders, headers: { ...browser, "user-agent": "git/2.47" } })).toEqual([KEY]);
  });

  test("The user name is no key beside a password", () => {
    expect(keysIn(BASIC, { rawHeaders: ["Authorization", `Basic ${base64(`${KEY}:x`)}`] })).toEqual(["x"]);
  });

  test("A service whose credential is only in a form, which is in the body, has no place for a key", () => {
    expect(createKeyPlaces(placementsOf(authSchema.parse(custom({ form: { api_key: "{token}" } }))))).toBeUndefined();
  });

  test("The places have names for operators, without anything of a secret", () => {
    const auth = custom({
      headers: { "X-Key": "v1={token}", "X-Other": "{token}" },
      query: { key: "{token}" },
      path: "/bot{token}",
      subprotocol: "k.{token}",
    });
    expect(placesOf(auth).names).toEqual([
      "header X-Key: v1=<key>",
      "header X-Other",
      "query key",
      "path /bot<key>",
      "subprotocol k.<key>",
    ]);
    expect(placesOf(BASIC).names).toEqual(["header Authorization: Basic, the key as the password"]);
  });
});
