/** The `auth` member of a service: what is allowed, and what the message says about everything else. */
import { describe, expect, test } from "vitest";
import { load, problemsOf, services } from "./temp-folder.ts";

const withAuth = (auth: unknown, more = {}) => services({ x: { baseUrl: "https://api.example.com/", auth, ...more } });
const T = { t: { envVar: "TOKEN" } };
const pool = (...of: readonly object[]) => ({ type: "pool", of });
const bearer = { type: "bearer", tokenEnvVar: "T" };
const other = { type: "bearer", tokenEnvVar: "U" };
const client = {
  type: "oauth2",
  grant: "client_credentials",
  tokenUrl: "https://login.example.com/token",
  clientSecretEnvVar: "TOKEN",
};
const custom = (more: object) => ({ type: "custom", secrets: T, ...more });

const fromLogin = {
  type: "oauth2",
  grant: "refresh_token",
  refreshToken: "login",
  tokenUrl: "https://login.example/token",
  authorizationUrl: "https://login.example/authorize",
  clientId: "a",
  clientAuth: "none",
};

describe("auth", () => {
  test.each([
    { type: "api-key", tokenEnvVar: "TOKEN", headerName: "Authorization", scheme: "Token " },
    { type: "api-key", tokenEnvVar: "TOKEN", headerName: "Authorization", scheme: "token=" },
    { type: "basic", tokenEnvVar: "TOKEN", username: "" },
    { type: "basic", tokenEnvVar: "TOKEN", username: "Zoë" },
    { type: "basic", tokenEnvVar: "TOKEN", usernameEnvVar: "USER_NAME" },
    { type: "bearer", tokenCommand: ["vault", "read", ""], tokenCommandTtlSeconds: 60 },
    pool({ type: "bearer", tokenEnvVar: "TOKEN" }, { type: "bearer", tokenCommand: ["vault"] }),
    pool(
      { type: "basic", tokenEnvVar: "TOKEN", username: "one" },
      { type: "basic", tokenEnvVar: "TOKEN", usernameEnvVar: "USER_NAME" },
    ),
    { ...pool({ ...client, clientId: "a" }, { ...client, clientId: "b", scope: "x" }), restSeconds: 5 },
    custom({ headers: { "X-A": "{t}", "X-B": "k={t|base64};v=1" } }),
    custom({ query: { key: "{t}", format: "json" } }),
    custom({ path: "/bot{t}" }),
    custom({ path: ["/bot{t}", "/file/bot{t}"] }),
    custom({ form: { "a[b]": "{t}", grant: "fixed" } }),
    custom({ subprotocol: "openai-insecure-api-key.{t}" }),
    { ...custom({ headers: { A: "{a}:{t}" } }), secrets: { ...T, a: { file: "secret" } } },
    { ...custom({ headers: { A: "{t}" } }), secrets: { t: { command: ["op", "read"], ttlSeconds: 5 } } },
  ])("%j is a credential", async (auth) => {
    const files = { ...withAuth(auth), secret: "of-the-file" };
    expect(await problemsOf(files, { TOKEN: "abcdefghijkl", USER_NAME: "me" })).toEqual([]);
  });

  test.each([
    ["of for type pool", { type: "pool" }],
    ["auth.of", pool(bearer)],
    ["of and restSeconds only for type pool", { ...bearer, of: [bearer, { ...bearer, tokenEnvVar: "U" }] }],
    ["tokenCommandTtlSeconds only for type bearer", { ...pool(bearer, other), tokenEnvVar: "T" }],
    ["auth.restSeconds: found 0", { ...pool(bearer, other), restSeconds: 0 }],
    ["another credential than those before it", pool(bearer, bearer)],
    ["auth.of[1].type", pool(bearer, { ...other, type: "bot" })],
    ["auth.of[0].required", pool({ ...bearer, required: false }, other)],
    ["a credential without a login", pool(fromLogin, { ...fromLogin, clientId: "b" })],
    ["nextTokenEnvVar and nextTokenFile not within a pool", pool(bearer, { ...other, nextTokenEnvVar: "N" })],
    [
      "the places and the names of secrets of the first credential",
      pool(
        { type: "api-key", queryParam: "k", tokenEnvVar: "T" },
        { type: "api-key", queryParam: "l", tokenEnvVar: "U" },
      ),
    ],
    ["auth.of[0]", pool({ type: "bearer" }, other)],
    ["exactly one of tokenEnvVar, tokenFile and tokenCommand", { type: "bearer" }],
    [
      "exactly one of tokenEnvVar, tokenFile and tokenCommand",
      { type: "bearer", tokenEnvVar: "T", tokenCommand: ["x"] },
    ],
    ["tokenCommandTtlSeconds only with tokenCommand", { type: "bearer", tokenEnvVar: "T", tokenCommandTtlSeconds: 5 }],
    ["auth.tokenCommand", { type: "bearer", tokenCommand: [] }],
    ["a list that begins with the name of a program", { type: "bearer", tokenCommand: ["", "a"] }],
    ["auth.tokenCommand", { type: "bearer", tokenCommand: "vault read" }],
    [
      "at most one of nextTokenEnvVar and nextTokenFile",
      { type: "bearer", tokenEnvVar: "T", nextTokenEnvVar: "N", nextTokenFile: "n" },
    ],
    ["only with tokenEnvVar or tokenFile", { type: "bearer", tokenCommand: ["x"], nextTokenEnvVar: "N" }],
    ["another variable than tokenEnvVar", { type: "bearer", tokenEnvVar: "T", nextTokenEnvVar: "T" }],
    ["another file than tokenFile", { type: "bearer", tokenFile: "t", nextTokenFile: "t" }],
    ["only for type bearer, bot, basic, api-key", custom({ headers: { A: "{t}" }, nextTokenEnvVar: "N" })],
    ["username and usernameEnvVar only for type basic", { type: "bearer", tokenEnvVar: "T", username: "me" }],
    [
      "at most one of username and usernameEnvVar",
      { type: "basic", tokenEnvVar: "T", username: "a", usernameEnvVar: "B" },
    ],
    ["without colons", { type: "basic", tokenEnvVar: "T", username: "a:b" }],
    ["auth.username", { type: "basic", tokenEnvVar: "T", username: null }],
    ["scheme only for type api-key", { type: "bearer", tokenEnvVar: "T", scheme: "Token" }],
    ["scheme only with headerName", { type: "api-key", tokenEnvVar: "T", queryParam: "k", scheme: "Token" }],
    ["auth.scheme", { type: "api-key", tokenEnvVar: "T", headerName: "A", scheme: "" }],
    ["a prefix such as", { type: "api-key", tokenEnvVar: "T", headerName: "A", scheme: "a\nb" }],
    ["only for type custom", { type: "bearer", tokenEnvVar: "T", headers: { A: "{t}" } }],
    ["only for type bearer, bot, basic, api-key", custom({ headers: { A: "{t}" }, tokenEnvVar: "T" })],
    ["an object with at least one secret", { type: "custom", headers: { A: "{t}" } }],
    ["an object with at least one secret", { type: "custom", secrets: {}, headers: { A: "x{t}" } }],
    ["at least one of headers, query, path, form and subprotocol", custom({})],
    ["at least one of headers, query, path, form and subprotocol", custom({ headers: {}, query: {} })],
    ["exactly one of envVar, file and command", { ...custom({ headers: { A: "{t}" } }), secrets: { t: {} } }],
    [
      "exactly one of envVar, file and command",
      { ...custom({ headers: { A: "{t}" } }), secrets: { t: { envVar: "A", file: "b" } } },
    ],
    [
      "ttlSeconds only with command",
      { ...custom({ headers: { A: "{t}" } }), secrets: { t: { envVar: "A", ttlSeconds: 5 } } },
    ],
    ["a name of letters", { ...custom({ headers: { A: "{t}" } }), secrets: { "1t": { envVar: "A" } } }],
    ["did you mean {t}?", custom({ headers: { A: "{tt}" } })],
    ["placeholders that secrets defines: {t}", custom({ headers: { A: "{password}" } })],
    ["placeholders that secrets defines: {t}", custom({ headers: { A: "{}" } })],
    ["placeholders of the form", custom({ headers: { A: "{t|hex}" } })],
    ["braces only around", custom({ headers: { A: "{t}}" } })],
    [
      "a secret that a template names as {u}",
      { ...custom({ headers: { A: "{t}" } }), secrets: { ...T, u: { envVar: "U" } } },
    ],
    ["a template with a placeholder; setHeaders", custom({ headers: { A: "fixed", B: "{t}" } })],
    ["a template with a placeholder", custom({ path: ["/bot{t}", "/fixed"] })],
    ["a template with a placeholder", custom({ subprotocol: "fixed", headers: { B: "{t}" } })],
    ["text between two placeholders", custom({ headers: { A: "{t}{t}" } })],
    ["neither begins nor ends with a space", custom({ headers: { A: " {t}" } })],
    ["auth.headers.A", custom({ headers: { A: "" } })],
    ["auth.headers.A", custom({ headers: { A: null } })],
    ["auth.headers", custom({ headers: null })],
    ["printable ASCII", custom({ headers: { A: "a\r\nB: {t}" } })],
    ["a header that the gateway does not write itself", custom({ headers: { "Content-Length": "{t}" } })],
    ["a header that the gateway does not write itself", custom({ headers: { "transfer-encoding": "{t}" } })],
    ["a header that belongs to the request itself", custom({ headers: { "Proxy-Authorization": "{t}" } })],
    ["a header that belongs to the request itself", custom({ headers: { "Sec-WebSocket-Protocol": "{t}" } })],
    ["a header that belongs to the request itself", custom({ headers: { "X-Request-Id": "{t}" } })],
    ["each header in one place", custom({ headers: { "X-Key": "{t}", "x-key": "{t}" } })],
    ["a parameter name", custom({ query: { "a&b": "{t}" } })],
    ["a path that begins with /", custom({ path: "bot{t}" })],
    ["a path that begins with /", custom({ path: "{t}" })],
    ["no ?, #", custom({ path: "/bot?key={t}" })],
    ["no ?, #", custom({ path: "/bot#{t}" })],
    ["no ?, #", custom({ path: "/bot%3f{t}" })],
    ["no ?, #", custom({ path: "/bot%2e%2e/{t}" })],
    ["no ?, #", custom({ path: "/..;/{t}" })],
    ["no ?, #", custom({ path: "/a\\{t}" })],
    ["without dot segments", custom({ path: "/../{t}" })],
    ["without dot segments", custom({ path: "/./{t}" })],
    ["without empty segments", custom({ path: "//{t}" })],
    ["without empty segments", custom({ path: "/{t}/" })],
    ["auth.path", custom({ path: [] })],
    ["auth.path", custom({ path: null })],
    ["a token (RFC 9110", custom({ subprotocol: "a b.{t}" })],
    ["a token (RFC 9110", custom({ subprotocol: "a,{t}" })],
    [
      "at most 16 entries",
      custom({ query: Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`q${i}`, "{t}"])) }),
    ],
  ])("%s: %j", async (message, auth) => {
    expect((await problemsOf(withAuth(auth), { TOKEN: "abcdefghijkl" })).join("\n")).toContain(message);
  });
});

describe("The secrets of a credential", () => {
  test.each([
    ["a control character", custom({ query: { k: "{t}" } }), "a\u0001bcdefghijk", "without control characters"],
    ["a letter outside of Latin-1 in a header", custom({ headers: { A: "{t}" } }), "ключ-ключ-ключ", "Latin-1"],
    ["a separator in a subprotocol", custom({ subprotocol: "k.{t}" }), "abc/defghijkl", "the characters of a token"],
    ["a dot segment of a path", custom({ path: "/x/{t}" }), "..", "no dot segment"],
    ["a dot segment of a path with parameters", custom({ path: "/x/{t}" }), "..;abcdefgh", "no dot segment"],
    ["no colon in a pair", { type: "basic", tokenEnvVar: "TOKEN" }, "abcdefghijkl", "user:password"],
  ])("%s is a problem that does not show the secret", async (_, auth, secret, allowed) => {
    const text = (await problemsOf(withAuth(auth), { TOKEN: secret })).join("\n");
    expect(text).toContain(allowed);
    if (secret.length > 2) expect(text).not.toContain(secret);
  });

  test("A secret may have any letter where it is encoded", async () => {
    const auth = custom({ headers: { A: "{t|base64}" }, query: { k: "{t}" }, path: "/{t}", form: { f: "{t}" } });
    expect(await problemsOf(withAuth(auth), { TOKEN: "ключ/ключ" })).toEqual([]);
  });

  test("A user name from a variable has no colon", async () => {
    const auth = { type: "basic", tokenEnvVar: "TOKEN", usernameEnvVar: "USER_NAME" };
    const env = { TOKEN: "abcdefghijkl", USER_NAME: "me:too" };
    expect((await problemsOf(withAuth(auth), env)).join("\n")).toContain("a user name without a colon");
  });

  test("No key of the gateway is one of several secrets", async () => {
    const auth = { ...custom({ headers: { A: "{t}", B: "{u}" } }), secrets: { ...T, u: { envVar: "COPY" } } };
    const env = { TOKEN: "abcdefghijkl", COPY: "an-own-key-0123456789", PROXY_API_KEY: "an-own-key-0123456789" };
    expect((await problemsOf(withAuth(auth), env)).join("\n")).toContain("not one of the gateway's own keys");
    const named = { ...auth, secrets: { ...T, u: { envVar: "PROXY_API_KEY" } } };
    expect((await problemsOf(withAuth(named), env)).join("\n")).toContain("the gateway's own PROXY_API_KEY");
    const password = { type: "basic", tokenEnvVar: "COPY", username: "me" };
    expect((await problemsOf(withAuth(password), env)).join("\n")).toContain("not one of the gateway's own keys");
    const pair = { ...env, COPY: `${env.COPY}:` };
    const basic = { type: "basic", tokenEnvVar: "COPY" };
    expect((await problemsOf(withAuth(basic), pair)).join("\n")).toContain("not one of the gateway's own keys");
  });

  test.each([
    ["Token abcdefgh", { type: "api-key", headerName: "A", scheme: "Token", tokenEnvVar: "TOKEN" }, "abcdefgh"],
    ["sso-key abcdefgh", { type: "api-key", headerName: "A", scheme: "SSO-Key ", tokenEnvVar: "TOKEN" }, "abcdefgh"],
    ["token=abcdefgh", { type: "api-key", headerName: "A", scheme: "token=", tokenEnvVar: "TOKEN" }, "abcdefgh"],
    ["Bearer abcdefgh", custom({ headers: { A: "Bearer {t}" }, query: { k: "{t}" } }), "abcdefgh"],
    ["kabcdefgh", custom({ headers: { A: "k{t}" } }), "kabcdefgh"],
    ["Bearer abcdefgh", custom({ query: { k: "{t}" } }), "Bearer abcdefgh"],
    ["Basic abcdefgh", { type: "basic", username: "me", tokenEnvVar: "TOKEN" }, "Basic abcdefgh"],
  ])("The scheme that the gateway adds is removed from %s for %j", async (secret, auth, sent) => {
    const { services: all, warnings } = await load(withAuth(auth), { TOKEN: secret });
    expect(all.get("x")?.credential?.secrets[0]?.secret?.reveal()).toBe(sent);
    expect(warnings.filter((line) => line.includes("already begins with a scheme"))).toHaveLength(
      sent === secret ? 0 : 1,
    );
  });
});
