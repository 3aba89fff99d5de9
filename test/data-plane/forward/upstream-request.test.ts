/** Properties of stripping and path joining, over random requests. */
import { EventEmitter } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import fc from "fast-check";
import { expect, test } from "vitest";
import { createCallers } from "../../../src/callers/callers.ts";
import { createRefusedKeys } from "../../../src/callers/key-refusals.ts";
import { createLockOut } from "../../../src/callers/lock-out.ts";
import type { Service } from "../../../src/config/schema.ts";
import { serviceSchema } from "../../../src/config/schema.ts";
import { Secret } from "../../../src/config/secret.ts";
import { settingsSchema } from "../../../src/config/settings.ts";
import { type Injection, inject } from "../../../src/data-plane/credential/credential-provider.ts";
import { createStaticCredential } from "../../../src/data-plane/credential/static-credential.ts";
import { CredentialRefusals } from "../../../src/data-plane/credential-refusals.ts";
import { Exchange } from "../../../src/data-plane/exchange.ts";
import { RetryBudget } from "../../../src/data-plane/forward/retry.ts";
import { createUpstreamRequest } from "../../../src/data-plane/forward/upstream-request.ts";
import { decideRoute, identify, type Route } from "../../../src/data-plane/identify.ts";
import { findPathProblem } from "../../../src/data-plane/path-problem.ts";
import { prepareService } from "../../../src/data-plane/prepared-service.ts";
import { createClientView } from "../../../src/perimeter/client-view.ts";
import { createInstance } from "../../../src/perimeter/instance.ts";
import { createRegistry } from "../../../src/services/registry.ts";

const KEY = "the-gateways-own-key-0123";
const service = {
  ...serviceSchema.parse({ baseUrl: "https://api.test/base/", auth: { type: "bearer", tokenEnvVar: "T" } }),
  key: "api",
  name: "api",
  timeoutMs: 1,
  connectTimeoutMs: 1,
  retries: 0,
  source: "file",
  embedded: false,
  credential: { source: "T", secrets: [{ name: "token", source: "T", secret: new Secret("the-real-one") }] },
} as unknown as Service;
const keptParts = {
  limiter: undefined,
  quota: undefined,
  breaker: undefined,
  retryBudget: new RetryBudget(),
  credentialRefusals: new CredentialRefusals(),
  noteDroppedCookie: () => {},
  signature: undefined,
  cache: undefined,
  idempotency: undefined,
};
const dialOptions = {
  service,
  pem: {},
  isTlsStrict: true,
  egress: { allowsPrivate: true, ownListeners: () => [] },
};
const prepared = prepareService(
  service,
  keptParts,
  dialOptions,
  createStaticCredential(service, () => "source"),
);
const parts = {
  instance: createInstance(),
  clients: createClientView({ TRUST_PROXY: undefined, PUBLIC_URL: undefined, ALLOWED_HOSTS: undefined }, () => true),
  callers: createCallers(
    {
      proxyPlane: { key: new Secret(KEY), isProtected: true, isOpen: false },
      managementPlane: { key: undefined, isProtected: false, isOpen: false },
      settings: settingsSchema.parse({}),
    },
    { find: () => undefined, findById: () => undefined, counts: { proxy: 0, manage: 0 } },
    { lockOut: createLockOut(), keyRefusals: { note() {} }, refusedKeys: createRefusedKeys() },
  ),
};

function send(rawHeaders: string[], target = "/proxy/api/x") {
  const headers: Record<string, string> = Object.create(null);
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = (rawHeaders[i] as string).toLowerCase();
    headers[name] =
      headers[name] === undefined ? (rawHeaders[i + 1] as string) : `${headers[name]}, ${rawHeaders[i + 1]}`;
  }
  const req = { method: "GET", url: target, rawHeaders, headers } as unknown as IncomingMessage;
  const exchange = new Exchange(req, new EventEmitter() as ServerResponse, "id", "127.0.0.1");
  const route = decideRoute(
    identify(target, undefined, new Map([["api", { prepared }]])),
    createRegistry(new Map(), () => service),
  ) as Route;
  const request = createUpstreamRequest(exchange, route, parts);
  inject(request, prepared.credential.get() as Injection);
  return request;
}

const free = fc.stringMatching(/^[a-z][a-z0-9-]{0,8}$/).map((name) => `q-${name}`);
const ending = fc.constantFrom(
  ...[
    "Connection",
    "Keep-Alive",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
    "Proxy-Authorization",
    "Host",
    "Cookie",
  ],
  ...[
    "Authorization",
    "x-api-key",
    "X-Forwarded-For",
    "x-forwarded-anything",
    "Forwarded",
    "X-Real-IP",
    "Origin",
    "Referer",
  ],
  ...["Expect", "Content-Length", "X_Api_Key", "X_Forwarded_For", "authorization_", "Transfer_Encoding", "_cookie"],
);
const text = fc.stringMatching(/^[\x21-\x7e]{0,12}$/);
const value = fc.oneof(text, fc.constant(KEY), fc.constant(`Bearer ${KEY}`));

test("For every list of headers none that must be removed is forwarded, no place contains the key, and exactly one credential is sent", () => {
  const header = fc.oneof(fc.tuple(free, text), fc.tuple(ending, value));
  fc.assert(
    fc.property(fc.array(header, { maxLength: 12 }), (list) => {
      const { headers } = send(list.flat());
      const names = headers.filter((_, i) => i % 2 === 0).map((name) => name.toLowerCase());
      const added = ["x-request-id", "traceparent", "via", "authorization", "te"];
      expect(names.filter((name) => !name.startsWith("q-") && !added.includes(name))).toEqual([]);
      expect(headers.join("\n")).not.toContain(KEY);
      expect(names.filter((name) => name === "authorization")).toHaveLength(1);
      expect(headers.at(-1)).toBe("Bearer the-real-one");
    }),
  );
});

test("All other headers arrive with their value, case and order", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(free, text), { maxLength: 12 }),
      fc.array(fc.tuple(ending, text)),
      (forwarded, dropped) => {
        const connection = dropped.filter(([name]) => name === "Connection").flatMap(([, words]) => words.split(","));
        fc.pre(!forwarded.some(([name]) => connection.includes(name)));
        const { headers } = send([...forwarded.flat(), ...dropped.flat()]);
        const arrived = headers.flatMap((name, i) =>
          i % 2 === 0 && name.startsWith("q-") ? [[name, headers[i + 1]]] : [],
        );
        expect(arrived).toEqual(forwarded);
      },
    ),
  );
});

test("A header that Connection names is not forwarded, in any spelling of the list", () => {
  fc.assert(
    fc.property(free, fc.constantFrom("", " ", "\t"), fc.boolean(), (name, space, upper) => {
      const listed = `close,${space}${upper ? name.toUpperCase() : name}${space},,x`;
      expect(send([name, "v", "Connection", listed]).headers).not.toContain(name);
    }),
  );
});

test("Path and query are appended byte for byte", () => {
  const part = fc.stringMatching(/^[\x21\x22\x24-\x3e\x40-\x7e]{0,20}$/);
  fc.assert(
    fc.property(part, fc.option(part), (path, query) => {
      const target = `/proxy/api/${path}${query === null ? "" : `?${query}`}`;
      fc.pre(findPathProblem(`/${path}`, "strict") === undefined && !/api_key|%/.test(query ?? ""));
      expect(send([], target).path).toBe(`/base/${path}${query === null ? "" : `?${query}`}`);
    }),
  );
});
