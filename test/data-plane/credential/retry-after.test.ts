/** A real response with Retry-After: the endpoint is asked again after that time, and not earlier. */
import type { IncomingHttpHeaders } from "node:http";
import { describe, expect, test } from "vitest";
import type { AuthDefinition } from "../../../src/config/auth-schema.ts";
import type { EndpointAccess } from "../../../src/data-plane/credential/endpoint-exchange.ts";
import { orderInstallationToken } from "../../../src/data-plane/credential/installation-order.ts";
import type { MintedService } from "../../../src/data-plane/credential/minted-credential.ts";
import { orderOauth2Token } from "../../../src/data-plane/credential/oauth2-order.ts";
import { createRenewedTokens, type TokenOrder } from "../../../src/data-plane/credential/renewed-tokens.ts";
import { exchangeSmall } from "../../../src/data-plane/forward/small-exchange.ts";
import { createRecords } from "../../../src/stores/records.ts";
import { pkcs1Of, rsaPair } from "../../support/keys.ts";
import { startUpstream } from "../../support/upstream.ts";

const egress = { allowsPrivate: true, ownListeners: () => [] };
const access: EndpointAccess = {
  way: "",
  send: (url, asked) =>
    exchangeSmall(
      url,
      { timeoutMs: 5_000, bytesLimit: 10_000, ...asked },
      { isTlsStrict: true, egress, proxyUse: undefined },
    ),
};
const PEM = pkcs1Of(rsaPair());
const nameSource = (text: string) => text;

const serviceWith = (baseUrl: string, auth: object) =>
  ({ key: "api", baseUrl, versionedBaseUrls: {}, auth: auth as AuthDefinition, credential: {} }) as MintedService;

const kinds: readonly [string, (url: string) => TokenOrder][] = [
  [
    "oauth2",
    (url) => {
      const auth = { type: "oauth2", grant: "client_credentials", tokenUrl: `${url}/token`, clientId: "c" };
      return orderOauth2Token(serviceWith(url, auth), new Map([["clientSecret", "s"]]), access, nameSource);
    },
  ],
  [
    "github-app",
    (url) => {
      const auth = { type: "github-app", appId: 1, installationId: 2 };
      return orderInstallationToken(serviceWith(url, auth), new Map([["privateKey", PEM]]), access);
    },
  ],
];

/** Asks an endpoint that responds once with this, at the seconds after that response. @returns the number of its requests at each. */
async function countRequests(order: (url: string) => TokenOrder, response: Refusal, at: readonly number[]) {
  let now = 0;
  const { url, requests } = await startUpstream((req, res) => {
    req.resume();
    const headers = response.headers();
    res.writeHead(response.status, headers as Record<string, string>).end("{}");
  });
  const tokens = createRenewedTokens({
    logger: { warn() {}, info() {} },
    refreshTokens: createRecords(async () => {}),
    now: () => now,
    mask: (text) => text,
    isOwnKey: () => false,
    keepSecrets() {},
  });
  const { token } = tokens.acquire(order(url));
  await token.get();
  const counts: number[] = [];
  for (const seconds of at) {
    now = seconds * 1_000;
    await token.get();
    counts.push(requests.length);
  }
  await tokens.close();
  return counts;
}

interface Refusal {
  readonly status: number;
  readonly headers: () => IncomingHttpHeaders;
}

const inSeconds = (seconds: number) => new Date(Date.now() + seconds * 1_000);

describe.each(kinds)("The endpoint of %s", (_, order) => {
  test.each<[string, number, () => IncomingHttpHeaders, number[], number[]]>([
    ["429 with seconds", 429, () => ({ "retry-after": "90" }), [2, 89, 91], [1, 1, 2]],
    ["429 with a date", 429, () => ({ "retry-after": inSeconds(90).toUTCString() }), [2, 80, 91], [1, 1, 2]],
    ["503 with seconds", 503, () => ({ "retry-after": "90" }), [2, 89, 91], [1, 1, 2]],
    ["a time of days, which counts as five minutes", 429, () => ({ "retry-after": "999999" }), [299, 301], [1, 2]],
    [
      "a time that is over, which counts as none",
      429,
      () => ({ "retry-after": inSeconds(-9).toUTCString() }),
      [0.9, 1.1],
      [1, 2],
    ],
    ["a time that is none", 429, () => ({ "retry-after": "soon" }), [0.9, 1.1], [1, 2]],
    ["429 without a time", 429, () => ({}), [0.9, 1.1], [1, 2]],
  ])("It is left alone after %s", async (_, status, headers, at, expected) => {
    expect(await countRequests(order, { status, headers }, at)).toEqual(expected);
  });
});

test("GitHub's own reset of a used limit counts as well", async () => {
  const [, order] = kinds[1] as (typeof kinds)[number];
  const reset = () => String(Math.ceil(inSeconds(90).getTime() / 1_000));
  const headers = () => ({ "x-ratelimit-remaining": "0", "x-ratelimit-reset": reset() });
  expect(await countRequests(order, { status: 403, headers }, [2, 80, 92])).toEqual([1, 1, 2]);
});
