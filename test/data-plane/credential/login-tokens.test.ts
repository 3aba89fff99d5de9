/** The requests of a login, with a stand-in for the connection and an injected clock. */
import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import type { AuthDefinition } from "../../../src/config/auth-schema.ts";
import { beginDeviceLogin } from "../../../src/data-plane/credential/device-login.ts";
import { beginLogin, type LoginClient } from "../../../src/data-plane/credential/login-tokens.ts";

const TOKEN_URL = "https://login.example/token";

const auth: AuthDefinition = {
  type: "oauth2",
  grant: "refresh_token",
  refreshToken: "login",
  tokenUrl: TOKEN_URL,
  clientId: "the-client",
  clientSecretEnvVar: "S",
  scope: "read offline_access",
  audience: "https://api.example",
  required: true,
};

type Answer = { readonly status?: number; readonly body: unknown } | Error;

/** @param answers in the order of the requests; the last one repeats. */
function open(answers: readonly Answer[], more: Partial<LoginClient> = {}) {
  const forms: Record<string, string>[] = [];
  const client: LoginClient = {
    auth,
    secrets: new Map([["clientSecret", "the-secret-of-the-client"]]),
    assertions: undefined,
    endpoints: {
      issuer: "https://login.example",
      tokenUrl: TOKEN_URL,
      authorizationUrl: "https://login.example/authorize?access_type=offline",
      deviceAuthorizationUrl: "https://login.example/device",
      sendsIssuer: false,
    },
    async send(url, { body = "" }) {
      forms.push({ url, ...Object.fromEntries(new URLSearchParams(body)) });
      const answer = answers[Math.min(forms.length, answers.length) - 1];
      if (answer === undefined || answer instanceof Error) throw answer;
      return { status: answer.status ?? 200, headers: {}, text: JSON.stringify(answer.body) };
    },
    ...more,
  };
  return { client, forms };
}

const signal = new AbortController().signal;
const issued = { access_token: "access-of-the-user", token_type: "bearer", expires_in: 60, refresh_token: "refresh-1" };
const REDIRECT = "http://127.0.0.1:1234/callback";

describe("The authorization code flow", () => {
  test("The URL has a state and an S256 challenge, whose verifier is sent with the code only", async () => {
    const { client, forms } = open([{ body: issued }]);
    const pending = await beginLogin(client, REDIRECT);
    const { searchParams: asked, origin, pathname } = new URL(pending.url);
    expect(origin + pathname).toBe("https://login.example/authorize");
    expect(Object.fromEntries(asked)).toMatchObject({
      access_type: "offline",
      response_type: "code",
      client_id: "the-client",
      redirect_uri: REDIRECT,
      scope: "read offline_access",
      audience: "https://api.example",
      prompt: "consent",
      code_challenge_method: "S256",
      state: pending.state,
    });
    const login = await pending.complete(new URLSearchParams({ code: "the-code", state: pending.state }), signal);
    expect(login).toEqual({ token: "refresh-1", isAccessToken: false });
    const [{ code_verifier: verifier = "", ...form } = {}] = forms;
    expect(createHash("sha256").update(verifier).digest("base64url")).toBe(asked.get("code_challenge"));
    expect(form).toEqual({
      url: TOKEN_URL,
      grant_type: "authorization_code",
      code: "the-code",
      redirect_uri: REDIRECT,
    });
    expect(pending.url).not.toContain(verifier);
    expect((await beginLogin(client, REDIRECT)).state).not.toBe(pending.state);
  });

  test("An access token without an end is kept where there is no refresh token; one with an end is refused", async () => {
    const { client } = open([
      { body: { ok: true, authed_user: { access_token: "xoxp-1", token_type: "user", scope: "chat:write" } } },
      { body: { ...issued, refresh_token: undefined } },
    ]);
    const complete = async () => {
      const pending = await beginLogin(client, REDIRECT);
      return pending.complete(new URLSearchParams({ code: "c", state: pending.state }), signal);
    };
    expect(await complete()).toEqual({ token: "xoxp-1", isAccessToken: true, scope: "chat:write" });
    await expect(complete()).rejects.toThrow("issued a token that expires, and no refresh token");
  });

  const known = { issuer: "https://login.example", sendsIssuer: true };
  test.each([
    ["the state of another login", { state: "x" }, {}, "with parameters that are not valid"],
    ["no state", { state: undefined }, {}, "with parameters that are not valid"],
    ["two states", { state: ["a", "b"] }, {}, "with parameters that are not valid"],
    ["no code", { code: undefined }, {}, "sent the browser back without a code"],
    ["another issuer", { iss: "https://evil.example" }, known, "with the name of another issuer, or none"],
    ["no issuer where one is announced", {}, known, "with the name of another issuer, or none"],
    [
      "an error",
      { error: "access_denied", error_description: "The user\u001b[31m said <b>no</b>" },
      {},
      "refused the login: access_denied (The user [31m said <b>no</b>)",
    ],
  ] as const)("A redirect with %s is refused, and its code is not sent", async (_, change, endpoints, text) => {
    const { client, forms } = open([{ body: issued }]);
    const { tokenUrl: __, ...discovered } = auth;
    const isKnown = "issuer" in endpoints;
    const pending = await beginLogin(
      { ...client, auth: isKnown ? discovered : auth, endpoints: { ...client.endpoints, ...endpoints } },
      REDIRECT,
    );
    const parameters = new URLSearchParams();
    for (const [name, value] of Object.entries({ code: "private-code", state: pending.state, ...change })) {
      for (const each of [value ?? []].flat()) parameters.append(name, each);
    }
    const failure = await pending.complete(parameters, signal).catch((error: Error) => error.message);
    expect(failure).toContain(text);
    expect(failure).not.toMatch(/private-code|evil/);
    expect(forms).toEqual([]);
  });

  test("A redirect may name an issuer where the endpoints were configured", async () => {
    const { client } = open([{ body: issued }]);
    const pending = await beginLogin(client, REDIRECT);
    const parameters = new URLSearchParams({ code: "c", state: pending.state, iss: "https://accounts.example" });
    expect((await pending.complete(parameters, signal)).token).toBe("refresh-1");
  });

  test("A refusal of the token endpoint repeats neither the code nor the verifier", async () => {
    const { client } = open([{ status: 400, body: { error: "private-code" } }]);
    const pending = await beginLogin(client, REDIRECT);
    const parameters = new URLSearchParams({ code: "private-code", state: pending.state });
    await expect(pending.complete(parameters, signal)).rejects.toThrow(/^responded with 400$/);
  });
});

describe("The device flow", () => {
  const device = {
    device_code: "private-device-code",
    user_code: "ABCD-1234",
    verification_uri: "https://login.example/activate",
    expires_in: 100,
  };
  const pending = { status: 400, body: { error: "authorization_pending" } };

  /** @returns the outcome and the pauses in seconds. */
  async function run(answers: readonly Answer[], begun: object = device) {
    const { client, forms } = open([{ body: begun }, ...answers]);
    let now = 0;
    const pauses: number[] = [];
    const pace = {
      now: () => now,
      sleep: async (ms: number) => {
        now += ms;
        pauses.push(ms / 1_000);
      },
    };
    const outcome = await beginDeviceLogin(client, signal, pace)
      .then((login) => login.wait(signal))
      .catch((error: Error) => error.message);
    return { outcome, pauses, forms };
  }

  test.each<[string, readonly Answer[], unknown, readonly number[], object?]>([
    ["waits while it is pending", [pending, pending, { body: issued }], "refresh-1", [5, 5, 5]],
    ["asks as often as the server wants", [pending, { body: issued }], "refresh-1", [9, 9], { ...device, interval: 9 }],
    [
      "asks less often after slow_down",
      [{ status: 400, body: { error: "slow_down" } }, pending, { body: issued }],
      "refresh-1",
      [5, 10, 10],
    ],
    [
      "understands Google's statuses",
      [
        { status: 428, body: { error: "authorization_pending" } },
        { status: 403, body: { error: "slow_down" } },
        { body: issued },
      ],
      "refresh-1",
      [5, 5, 10],
    ],
    ["understands GitHub's", [{ body: { error: "authorization_pending" } }, { body: issued }], "refresh-1", [5, 5]],
    ["asks again after a failed connection", [new Error("ECONNRESET"), { body: issued }], "refresh-1", [5, 10]],
    [
      "ends with the code",
      [pending],
      "did not get the login in time: the code has expired. Log in again",
      [40, 40, 40],
      { ...device, interval: 40 },
    ],
    [
      "ends with expired_token",
      [{ status: 400, body: { error: "expired_token" } }],
      "did not get the login in time: the code has expired. Log in again",
      [5],
    ],
    [
      "ends with access_denied",
      [{ status: 400, body: { error: "access_denied" } }],
      "refused the login: access_denied",
      [5],
    ],
    [
      "ends with another error",
      [{ status: 400, body: { error: "invalid_client" } }],
      "responded with 400 (invalid_client)",
      [5],
    ],
    [
      "ends with a response that is no token",
      [{ body: "<html>" }],
      "responded with something other than a token response in JSON (RFC 6749 section 5.1)",
      [5],
    ],
    [
      "refuses an address that is no URL",
      [],
      "named no https address for the code",
      [],
      { ...device, verification_uri: "javascript:alert(1)" },
    ],
    [
      "refuses an address without TLS",
      [],
      "named no https address for the code",
      [],
      { ...device, verification_uri: "http://login.example/device" },
    ],
    [
      "refuses a code with characters that a terminal interprets",
      [],
      "named no code that a person can enter",
      [],
      { ...device, user_code: "ABCD\u001b[2J\u202e" },
    ],
    [
      "refuses a code that fills the terminal",
      [],
      "named no code that a person can enter",
      [],
      { ...device, user_code: "A".repeat(65) },
    ],
    ["asks in the usual pace for an interval of 0", [{ body: issued }], "refresh-1", [5], { ...device, interval: 0 }],
    [
      "asks in the usual pace for a negative interval",
      [{ body: issued }],
      "refresh-1",
      [5],
      { ...device, interval: -9 },
    ],
    [
      "waits no longer than the code for a huge interval",
      [pending],
      "did not get the login in time: the code has expired. Log in again",
      [60, 60],
      { ...device, interval: 1e9 },
    ],
    [
      "ends with the code after slow_down without end",
      [{ status: 400, body: { error: "slow_down" } }],
      "did not get the login in time: the code has expired. Log in again",
      [5, 10, 15, 20, 25, 30],
    ],
    [
      "refuses a response without a code",
      [],
      "responded with something other than a code for a device (RFC 8628)",
      [],
      { expires_in: 5 },
    ],
  ])("The command %s", async (_, answers, expected, pauses, begun) => {
    const { outcome, pauses: paused, forms } = await run(answers, begun);
    expect(typeof outcome === "string" ? outcome : outcome.token).toBe(expected);
    expect(paused).toEqual(pauses);
    expect(forms[0]).toEqual({
      url: "https://login.example/device",
      client_id: "the-client",
      scope: "read offline_access",
      audience: "https://api.example",
      prompt: "consent",
    });
    if (forms[1] !== undefined) {
      const grant = "urn:ietf:params:oauth:grant-type:device_code";
      expect(forms[1]).toEqual({ url: TOKEN_URL, grant_type: grant, device_code: "private-device-code" });
    }
  });

  test("Google's name for the address is understood", async () => {
    const { verification_uri: verification_url, ...others } = device;
    const { client } = open([{ body: { ...others, verification_url } }]);
    expect((await beginDeviceLogin(client, signal)).verificationUrl).toBe(verification_url);
  });
});
