/** Which metadata of an issuer name usable endpoints. */
import { describe, expect, test } from "vitest";
import type { AuthDefinition } from "../../../src/config/auth-schema.ts";
import { endpointsOf } from "../../../src/data-plane/credential/discovery.ts";
import type { EndpointResponse } from "../../../src/data-plane/credential/endpoint-exchange.ts";

const ISSUER = "https://login.example/tenant";
const metadata = { issuer: ISSUER, token_endpoint: "https://tokens.example/token" };

type Answer = Partial<EndpointResponse> | Error;

/** @param answers by URL; others are 404. */
function open(answers: Record<string, Answer>, issuer = ISSUER, more: Partial<AuthDefinition> = {}) {
  const urls: string[] = [];
  const source = endpointsOf({ type: "oauth2", issuer, required: true, ...more }, async (url) => {
    urls.push(url);
    const answer = answers[url];
    if (answer instanceof Error) throw answer;
    return { status: answer === undefined ? 404 : 200, headers: {}, text: "", ...answer };
  });
  return { urls, source, answers, get: () => source.get(new AbortController().signal) };
}

const OIDC = `${ISSUER}/.well-known/openid-configuration`;
const OAUTH = "https://login.example/.well-known/oauth-authorization-server/tenant";
const json = (value: unknown) => ({ text: JSON.stringify(value) });

describe("The endpoints of an issuer", () => {
  test.each([
    ["of OpenID Connect", { [OIDC]: json(metadata) }, [OIDC]],
    ["of RFC 8414, with the well-known part before the path", { [OAUTH]: json(metadata) }, [OIDC, OAUTH]],
  ])("They are found at the address %s, once", async (_, answers, asked) => {
    const { get, urls } = open(answers);
    expect(await get()).toMatchObject({ issuer: ISSUER, tokenUrl: "https://tokens.example/token" });
    await get();
    expect(urls).toEqual(asked);
  });

  test("After a failed token request they are looked up again", async () => {
    const { get, source, answers } = open({ [OIDC]: json(metadata) });
    await get();
    answers[OIDC] = json({ ...metadata, token_endpoint: "https://moved.example/token" });
    source.forget();
    expect((await get()).tokenUrl).toBe("https://moved.example/token");
  });

  test("Endpoints of the definition take precedence over those of the metadata", async () => {
    const full = {
      ...metadata,
      authorization_endpoint: "https://login.example/authorize",
      device_authorization_endpoint: "https://login.example/device",
      authorization_response_iss_parameter_supported: true,
    };
    const authorizationUrl = "https://login.example/authorize?prompt=consent";
    expect(await open({ [OIDC]: json(full) }, ISSUER, { authorizationUrl }).get()).toEqual({
      issuer: ISSUER,
      tokenUrl: metadata.token_endpoint,
      authorizationUrl,
      deviceAuthorizationUrl: "https://login.example/device",
      sendsIssuer: true,
    });
  });

  test("An endpoint that is null is one that the issuer does not have", async () => {
    const nulls = { authorization_endpoint: null, device_authorization_endpoint: null };
    expect(await open({ [OIDC]: json({ ...metadata, ...nulls }) }).get()).toMatchObject({
      tokenUrl: metadata.token_endpoint,
      authorizationUrl: undefined,
    });
    const failing = open({ [OIDC]: json({ ...metadata, token_endpoint: null }) }).get();
    await expect(failing).rejects.toThrow("the metadata name no token_endpoint");
  });

  test.each([
    ["no response", new Error("ECONNREFUSED 10.0.0.1"), "the issuer could not be used: the connection failed"],
    ["a redirect", { status: 302, headers: { location: "https://other.example/" } }, "the issuer responded with 302"],
    ["another issuer", json({ ...metadata, issuer: "https://evil.example" }), "the metadata are of another issuer"],
    ["a slash more", json({ ...metadata, issuer: `${ISSUER}/` }), "another issuer; a slash at its end counts"],
    ["no issuer", json({ token_endpoint: metadata.token_endpoint }), "something other than its metadata"],
    ["no JSON", { text: "<html>private-text" }, "something other than its metadata"],
    ["a list", json([]), "something other than its metadata"],
    ["no token endpoint", json({ issuer: ISSUER }), "the metadata name no token_endpoint"],
    ["a number", json({ ...metadata, token_endpoint: 7 }), "token_endpoint in the metadata is no https URL"],
    ["http", json({ ...metadata, token_endpoint: "http://tokens.example/" }), "token_endpoint in the metadata is no"],
    ["http here", json({ ...metadata, token_endpoint: "http://127.0.0.1/" }), "token_endpoint in the metadata is no"],
    ["a user", json({ ...metadata, token_endpoint: "https://u:p@tokens.example/" }), "token_endpoint in the metadata"],
    ["a file", json({ ...metadata, token_endpoint: "file:///etc/passwd" }), "token_endpoint in the metadata is no"],
    [
      "a script as the authorization endpoint",
      json({ ...metadata, authorization_endpoint: "javascript:alert(1)" }),
      "authorization_endpoint in the metadata is no https URL",
    ],
  ] as readonly [string, Answer, string][])(
    "Metadata with %s are refused, without their text",
    async (_, answer, text) => {
      const failure = await Promise.resolve(open({ [OIDC]: answer }).get()).catch((error: Error) => error.message);
      expect(failure).toMatch(/^was not found by discovery: /);
      expect(failure).toContain(text);
      expect(failure).not.toMatch(/private-text|evil|10\.0\.0\.1/);
    },
  );

  test("An issuer on this machine may name http endpoints on this machine, and no others", async () => {
    const issuer = "http://127.0.0.1:1";
    const at = `${issuer}/.well-known/openid-configuration`;
    const here = { issuer, token_endpoint: "http://localhost:2/token" };
    expect((await open({ [at]: json(here) }, issuer).get()).tokenUrl).toBe("http://localhost:2/token");
    const elsewhere = { issuer, token_endpoint: "http://10.0.0.1/token" };
    await expect(open({ [at]: json(elsewhere) }, issuer).get()).rejects.toThrow("is no https URL");
  });
});
