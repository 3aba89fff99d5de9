/** Probes of names, with the test's own resolver, because tests may not contact other machines. */
import { expect, test } from "vitest";
import { type Service, serviceSchema } from "../../../src/config/schema.ts";
import { createEmptyProvider } from "../../../src/data-plane/credential/credential-provider.ts";
import { CredentialRefusals } from "../../../src/data-plane/credential-refusals.ts";
import { probe } from "../../../src/data-plane/forward/probe.ts";
import { RetryBudget } from "../../../src/data-plane/forward/retry.ts";
import { prepareService } from "../../../src/data-plane/prepared-service.ts";

function prepared(baseUrl: string, found: NodeJS.ErrnoException | readonly string[]) {
  const service = {
    ...serviceSchema.parse({ baseUrl }),
    ...{ key: "api", name: "api", timeoutMs: 500, connectTimeoutMs: 500, retries: 0, source: "file", embedded: false },
    credential: undefined,
  } as Service;
  return prepareService(
    service,
    {
      limiter: undefined,
      quota: undefined,
      breaker: undefined,
      retryBudget: new RetryBudget(),
      credentialRefusals: new CredentialRefusals(),
      noteDroppedCookie: () => {},
      signature: undefined,
      cache: undefined,
      idempotency: undefined,
    },
    {
      service,
      pem: {},
      isTlsStrict: true,
      egress: {
        allowsPrivate: false,
        ownListeners: () => [],
        // Asynchronous, like every resolver.
        resolve: (_, __, callback) => {
          if (found instanceof Error) setImmediate(callback, found, []);
          else
            setImmediate(
              callback,
              null,
              found.map((address) => ({ address, family: 4 })),
            );
        },
      },
    },
    createEmptyProvider(),
  );
}

test.each([
  ["ENOTFOUND", /does not resolve/],
  ["EAI_AGAIN", /no name server responded/],
])("A lookup that ends with %s fails in the phase dns, with the reason in words", async (code, words) => {
  const error = Object.assign(new Error("lookup failed"), { code });
  expect(await probe(prepared("https://api.example.com/", error))).toMatchObject({
    status: "unreachable",
    phase: "dns",
    code: "UPSTREAM_UNREACHABLE",
    error: expect.stringMatching(words),
    phases: { dns: null, connect: null, proxy: null, tls: null, http: null },
    certificate: null,
  });
});

test("A name that resolves to a private address is refused, and nothing is dialed", async () => {
  expect(await probe(prepared("http://api.example.com/", ["10.0.0.1", "127.0.0.1"]))).toMatchObject({
    status: "unreachable",
    code: "EGRESS_NOT_ALLOWED",
    phase: "dns",
  });
});
