/** `byteproxy login` with an authorization server, a browser, a running gateway and DATA_DIR. */
import { existsSync, readFileSync, statSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { Provider } from "oidc-provider";
import { describe, expect, test } from "vitest";
import { isStoredKey } from "../../src/callers/issued-key.ts";
import type { GatewayStores } from "../../src/composition/gateway-options.ts";
import type { ServiceInput } from "../../src/config/schema.ts";
import { isStoredService } from "../../src/services/stored-services.ts";
import { lockDataDir } from "../../src/stores/data-dir-lock.ts";
import { openFileStores } from "../../src/stores/open-stores.ts";
import { tempFolder } from "../config/temp-folder.ts";
import { hasBrowser, openBrowser } from "../support/browser.ts";
import { eventually } from "../support/eventually.ts";
import { freePort } from "../support/free-port.ts";
import { MANAGEMENT_KEY, startGateway } from "../support/gateway.ts";
import { startLoopbackServer } from "../support/loopback-server.ts";
import { startProcess } from "../support/process.ts";
import { type EndedCommand, runCommand } from "../support/run-command.ts";
import { refuseToken, startTokenEndpoint } from "../support/token-endpoint.ts";
import { startUpstream } from "../support/upstream.ts";

const SECRET = "the-secret-of-the-client";
const env = { EGRESS_ALLOW_PRIVATE: "true", CLIENT_SECRET: SECRET, MANAGEMENT_API_KEY: MANAGEMENT_KEY };

const loginClient = (more: object): NonNullable<ServiceInput["auth"]> => ({
  type: "oauth2",
  grant: "refresh_token",
  refreshToken: "login",
  clientId: "the-client",
  clientSecretEnvVar: "CLIENT_SECRET",
  ...more,
});

/** Runs the command in a folder with the service, and resolves to its URL when it waits for the person. */
function startLogin(services: object, words: string[], variables: Record<string, string> = {}) {
  let notes = "";
  const ended: Promise<EndedCommand> = runCommand(
    { ...env, CONFIG_FILE: "services.json", ...variables },
    ["login", ...words],
    {
      files: { "services.json": JSON.stringify({ services }) },
      onNote: (text) => {
        notes = text;
      },
    },
  );
  const url = async () => {
    const found = await eventually(() => /^ {2}(https?:\S+)$/m.exec(notes)?.[1], `the URL in ${notes}`, 6_000);
    return new URL(found);
  };
  return { ended, url, notes: () => notes };
}

/** Redirects the browser with a code at once, and gives tokens for it. */
async function startIssuer(more: object = {}) {
  const codes = new Map<string, string>();
  const endpoint = await startTokenEndpoint(({ form }, _, res) => {
    const code = form.get("code") ?? "";
    if (form.get("grant_type") === "refresh_token") return { ...issued, access_token: "access-of-the-user" };
    if (!codes.delete(code)) return refuseToken(res, 400, { error: "invalid_grant" });
    return { ...issued, ...more };
  });
  const issued = {
    access_token: "first-of-the-user",
    token_type: "bearer",
    expires_in: 60,
    refresh_token: "refresh-of-the-user",
  };
  /** What the browser would request after the login. */
  const redirectOf = (url: URL, change: Record<string, string> = {}) => {
    const target = new URL(url.searchParams.get("redirect_uri") ?? "");
    codes.set("code-of-the-user", "");
    const parameters = { code: "code-of-the-user", state: url.searchParams.get("state") ?? "", ...change };
    for (const [name, value] of Object.entries(parameters)) target.searchParams.set(name, value);
    return target;
  };
  const auth = loginClient({ tokenUrl: endpoint.url, authorizationUrl: "https://login.example/authorize" });
  return { endpoint, redirectOf, auth };
}

const manage = { authorization: `Bearer ${MANAGEMENT_KEY}` };

describe("byteproxy login", () => {
  test("The login goes to the running gateway; foreign requests do not end it; no part of it is printed", async () => {
    const { redirectOf, auth, endpoint } = await startIssuer();
    const vendor = await startUpstream();
    const services = { api: { baseUrl: vendor.url, auth } };
    const gateway = await startGateway({ env, services });
    const { ended, url } = startLogin(services, ["api", "--url", gateway.url]);
    const asked = await url();
    expect(asked.origin).toBe("https://login.example");
    const right = redirectOf(asked);
    const status = async (target: URL, init: RequestInit = {}) => (await fetch(target, init)).status;
    expect(right.hostname).toBe("127.0.0.1");
    expect(await status(new URL("/", right))).toBe(404);
    expect(await status(redirectOf(asked, { state: "another-state" }))).toBe(400);
    expect(await status(new URL("/callback", right))).toBe(400);
    expect(await status(right, { method: "POST" })).toBe(405);
    // A name that leads here, as after DNS rebinding.
    expect(await rawStatus(right, "evil.example")).toBe(404);
    expect(endpoint.requests).toHaveLength(0);

    const shown = await fetch(right);
    expect(shown.status).toBe(200);
    expect(await shown.text()).toContain("<h1>Logged in</h1>");
    expect(shown.headers.get("content-security-policy")).toContain("default-src 'none'");
    expect(await ended).toEqual({
      code: 0,
      out: "Logged in: the gateway has a refresh token for api and uses it from now on.\n",
      err: expect.not.stringMatching(/of-the-user|the-secret-of/),
    });
    await expect(fetch(right)).rejects.toThrow();
    expect((await fetch(`${gateway.url}/proxy/api/x`)).status).toBe(200);
    expect(vendor.requests.at(-1)?.headers.authorization).toBe("Bearer access-of-the-user");
    const audit = await (await fetch(`${gateway.url}/manage/audit`, { headers: manage })).text();
    expect(audit).toContain("credential.login");
    expect(`${audit}${gateway.logText()}`).not.toMatch(/of-the-user|the-secret-of/);
  });

  test("Without a gateway it is in DATA_DIR, from where the next start uses it", async () => {
    const { redirectOf, auth } = await startIssuer({ refresh_token: undefined, expires_in: undefined });
    const vendor = await startUpstream();
    const services = { api: { baseUrl: vendor.url, auth } };
    const folder = tempFolder();
    const variables = { DATA_DIR: folder, PORT: String(await freePort()) };
    const { ended, url } = startLogin(services, ["api", "--json"], variables);
    expect((await fetch(redirectOf(await url()))).status).toBe(200);
    const { code, out } = await ended;
    expect([code, JSON.parse(out)]).toEqual([0, { key: "api", token: "access", storedIn: "DATA_DIR" }]);
    const file = join(folder, "credentials.json");
    expect(readFileSync(file, "utf8")).toContain("first-of-the-user");
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(existsSync(join(folder, "lock"))).toBe(false);
    const stores: GatewayStores = await openFileStores(folder, isStoredService, isStoredKey);
    const gateway = await startGateway({ env, services, stores });
    expect((await fetch(`${gateway.url}/proxy/api/x`)).status).toBe(200);
    expect(vendor.requests.at(-1)?.headers.authorization).toBe("Bearer first-of-the-user");
  });

  test("Where DATA_DIR is in use for a moment after the person has logged in, the login is not lost", async () => {
    const { redirectOf, auth } = await startIssuer();
    const services = { api: { baseUrl: "http://127.0.0.1:9/", auth } };
    const folder = tempFolder();
    const variables = { DATA_DIR: folder, PORT: String(await freePort()) };
    const { ended, url, notes } = startLogin(services, ["api", "--json"], variables);
    const asked = await url();
    const lock = await lockDataDir(folder);
    expect((await fetch(redirectOf(asked))).status).toBe(200);
    await eventually(() => notes().includes("Another process has DATA_DIR"), "the note", 6_000);
    await lock.release();
    expect(JSON.parse((await ended).out)).toMatchObject({ storedIn: "DATA_DIR" });
    expect(readFileSync(join(folder, "credentials.json"), "utf8")).toContain("refresh-of-the-user");
  });

  test("With --device it shows a code for another machine, and the login goes to the gateway, too", async () => {
    const endpoint = await startTokenEndpoint(({ form }, _, res, req) => {
      if (req.url === "/device") {
        const device = { device_code: "device-code-of-the-user", user_code: "ABCD-EFGH" };
        return { ...device, verification_uri: "https://login.example/activate", expires_in: 60, interval: 1 };
      }
      if (form.get("device_code") !== "device-code-of-the-user")
        return refuseToken(res, 400, { error: "authorization_pending" });
      return { access_token: "access-of-the-user", token_type: "bearer" };
    });
    const deviceAuthorizationUrl = endpoint.url.replace("/token", "/device");
    const services = {
      api: { baseUrl: "http://127.0.0.1:9/", auth: loginClient({ tokenUrl: endpoint.url, deviceAuthorizationUrl }) },
    };
    const gateway = await startGateway({ env, services });
    const { code, out, err } = await startLogin(services, ["api", "--device", "--url", gateway.url]).ended;
    expect([code, out]).toEqual([0, expect.stringContaining("an access token that does not expire for api")]);
    expect(err).toBe("Open https://login.example/activate on any machine, and enter the code ABCD-EFGH\n");
  });

  test("A refusal is shown in the browser and on the terminal, without markup and control characters", async () => {
    const { redirectOf, auth, endpoint } = await startIssuer();
    const gateway = await startGateway({ env, services: { api: { baseUrl: "http://127.0.0.1:9/", auth } } });
    const services = { api: { baseUrl: "http://127.0.0.1:9/", auth } };
    const { ended, url } = startLogin(services, ["api", "--url", gateway.url]);
    const description = "<script>alert(1)</script>\u001b[31m";
    const shown = await fetch(redirectOf(await url(), { error: "access_denied", error_description: description }));
    expect(shown.status).toBe(400);
    const page = await shown.text();
    expect(page).toContain("access_denied (&lt;script&gt;alert(1)&lt;/script&gt;");
    expect(page).not.toContain("<script>");
    const { code, err } = await ended;
    expect(code).toBe(1);
    expect(err).toMatch(/\nThe authorization server refused the login: access_denied \(<script>.*\)\.\n$/);
    expect(err).not.toContain("\u001b");
    expect(endpoint.requests).toHaveLength(0);
  });

  test("It ends after its time limit, and reports what is wrong before the person does anything", async () => {
    const { auth } = await startIssuer();
    const services = {
      api: { baseUrl: "http://127.0.0.1:9/", auth },
      static: { baseUrl: "http://127.0.0.1:9/", auth: { type: "bearer", tokenEnvVar: "CLIENT_SECRET" } },
      lacking: { baseUrl: "http://127.0.0.1:9/", auth: { ...auth, clientSecretEnvVar: "NOT_SET" } },
    };
    const folder = tempFolder();
    const variables = { DATA_DIR: folder, PORT: String(await freePort()) };
    const run = async (...words: string[]) => {
      const { code, err } = await startLogin(services, words, variables).ended;
      return [code, err.trimEnd().split("\n").at(-1)];
    };
    expect(await run("api", "--timeout", "50ms")).toEqual([
      1,
      "The login was not completed in time. Nothing was changed.",
    ]);
    expect(await run("nope")).toEqual([1, expect.stringContaining("There is no service nope")]);
    expect(await run("static")).toEqual([2, expect.stringContaining('has no "refreshToken": "login"')]);
    expect(await run("lacking")).toEqual([2, "lacking lacks a secret of its client: set NOT_SET first."]);
    expect(await run("api", "--device")).toEqual([1, expect.stringContaining("no device authorization endpoint")]);
    expect(await run("api", "--url", `http://127.0.0.1:${variables.PORT}`)).toEqual([
      1,
      expect.stringContaining("No gateway responds"),
    ]);
    expect((await run("api", "--redirect-uri", "http://example.com/"))[0]).toBe(2);
    expect(existsSync(join(folder, "credentials.json"))).toBe(false);
  });

  test("A gateway whose service has another client or endpoint gets no token; one without TLS is named", async () => {
    const { auth } = await startIssuer();
    const served = { ...auth, tokenUrl: "https://tokens.example/other" };
    const gateway = await startGateway({ env, services: { api: { baseUrl: "http://127.0.0.1:9/", auth: served } } });
    const run = async (own: object, url: string) => {
      const services = { api: { baseUrl: "http://127.0.0.1:9/", auth: { ...served, ...own } } };
      return (await startLogin(services, ["api", "--url", url, "--timeout", "300ms"]).ended).err;
    };
    const refused = (member: string) => `The running gateway has another ${member} for api than the services file`;
    expect(await run({ clientId: "another" }, gateway.url)).toContain(refused("clientId"));
    expect(await run({ tokenUrl: auth.tokenUrl }, gateway.url)).toContain(refused("tokenUrl"));
    const matching = await run({}, gateway.url);
    expect(matching).toContain("was not completed in time");
    expect(matching).not.toContain("no TLS");
    const unspecified = gateway.url.replace("127.0.0.1", "0.0.0.0");
    expect(await run({}, unspecified)).toContain(`${unspecified} has no TLS: the management key and the token`);
  });

  test("Ctrl-C ends it and leaves nothing behind", async () => {
    const { auth } = await startIssuer();
    const services = { api: { baseUrl: "http://127.0.0.1:9/", auth } };
    const variables = { ...env, CONFIG_FILE: "services.json", PORT: String(await freePort()) };
    const run = startProcess(variables, ["login", "api"], { "services.json": JSON.stringify({ services }) });
    await eventually(() => run.err().includes("https://login.example/"), "the URL", 9_000);
    run.child.kill("SIGINT");
    expect(await run.ended).toBe(1);
    expect(run.err()).toMatch(/The login was canceled\. Nothing was changed\.\n$/);
    expect(existsSync(join(run.directory, "data", "credentials.json"))).toBe(false);
    expect(existsSync(join(run.directory, "data", "lock"))).toBe(false);
  }, 20_000);
});

/** The status of a response to a request with another Host. */
function rawStatus(url: URL, host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = connect(Number(url.port), url.hostname);
    socket.on("error", reject);
    socket.once("data", (chunk) => {
      resolve(Number(/^HTTP\/1\.1 (\d+)/.exec(String(chunk))?.[1]));
      socket.destroy();
    });
    socket.write(`GET ${url.pathname}${url.search} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
  });
}

describe.skipIf(!hasBrowser)("A real authorization server and a browser", () => {
  test("A person logs in and consents; the gateway has tokens of that person, and renews them", async () => {
    const { server, url: issuer } = await startLoopbackServer();
    const provider = new Provider(issuer, {
      clients: [
        {
          client_id: "native",
          application_type: "native",
          redirect_uris: ["http://127.0.0.1/callback"],
          response_types: ["code"],
          grant_types: ["authorization_code", "refresh_token"],
          token_endpoint_auth_method: "none",
        },
      ],
      pkce: { required: () => true },
    });
    server.on("request", provider.callback());
    const vendor = await startUpstream();
    const scope = "openid offline_access";
    const auth = loginClient({ issuer, clientId: "native", clientAuth: "none", clientSecretEnvVar: undefined, scope });
    const services = { api: { baseUrl: vendor.url, auth } };
    const gateway = await startGateway({ env, services });
    const { ended, url } = startLogin(services, ["api", "--url", gateway.url]);
    const browser = await openBrowser();
    try {
      const page = await browser.newPage();
      await page.goto((await url()).href);
      await page.fill("[name=login]", "ann");
      await page.fill("[name=password]", "any");
      await page.click("[type=submit]");
      await page.click("[type=submit]");
      await page.waitForSelector("h1:text('Logged in')");
    } finally {
      await browser.close();
    }
    expect(await ended).toMatchObject({ code: 0, out: expect.stringContaining("a refresh token for api") });
    expect((await fetch(`${gateway.url}/proxy/api/x`)).status).toBe(200);
    const refreshed = await fetch(`${gateway.url}/manage/services/api/credential/refresh`, {
      method: "POST",
      headers: manage,
    });
    expect(refreshed.status).toBe(204);
    const accounts = vendor.requests.map(async ({ headers }) => {
      const token = await provider.AccessToken.find(String(headers.authorization).replace("Bearer ", ""));
      return [token?.accountId, token?.clientId, token?.scope];
    });
    expect(await Promise.all(accounts)).toEqual([["ann", "native", scope]]);
  }, 30_000);
});
