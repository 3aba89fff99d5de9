/** The secrets of signatures for operators: missing, rotated, locked, masked and described. */
import { createHmac } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway, type TestGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { startUpstream } from "../support/upstream.ts";

const SECRET = "the-signing-secret-0123456789";
const BODY = "{}";

async function start(env: Record<string, string> = { HOOK_SECRET: SECRET }) {
  const upstream = await startUpstream((req, res) => {
    req.resume();
    res.setHeader("x-echo", `the secret is ${SECRET}`);
    res.end("ok");
  });
  const verify = { scheme: "hmac", header: "X-Sign", secretEnvVar: "HOOK_SECRET" } as const;
  const gateway = await startGateway({
    env: {
      PROXY_API_KEY: PROXY_KEY,
      MANAGEMENT_API_KEY: MANAGEMENT_KEY,
      EGRESS_ALLOW_PRIVATE: "true",
      UNBOUND: SECRET,
      ...env,
    },
    services: { hook: { baseUrl: upstream.url, access: "signature", verify } },
  });
  return { gateway, upstream, verify };
}

const send = (gateway: TestGateway, key: string, secret = SECRET) =>
  fetch(`${gateway.url}/proxy/${key}/in`, {
    method: "POST",
    body: BODY,
    headers: { "x-sign": createHmac("sha256", secret).update(BODY).digest("hex") },
  });

const checkOf = async (gateway: TestGateway) =>
  // biome-ignore lint/suspicious/noExplicitAny: JSON of the gateway.
  (await manage(gateway, "GET", "/diagnostics")).body.checks.find(({ id }: any) => id === "signature:hook");

describe("The secret of a signature", () => {
  test("closes its service while it is missing, and the log, the status and the diagnostics say so", async () => {
    const { gateway, upstream } = await start({});
    for (const secret of [SECRET, "undefined", "x"]) {
      const answer = await send(gateway, "hook", secret);
      expect(answer.status).toBe(401);
      expect(await answer.text()).toContain("INVALID_SIGNATURE");
    }
    expect(upstream.requests).toEqual([]);
    expect(gateway.lines()).toContainEqual(
      expect.objectContaining({
        level: 40,
        service: "hook",
        msg: "a signature was refused: the service's signing secret is missing",
      }),
    );
    expect(await checkOf(gateway)).toMatchObject({
      status: "fail",
      summary: "hook has no signing secret: HOOK_SECRET holds no secret",
    });
  });

  test("is described in the status and the diagnostics with what was refused", async () => {
    const { gateway } = await start();
    expect((await send(gateway, "hook")).status).toBe(200);
    expect(await checkOf(gateway)).toMatchObject({ status: "ok", evidence: { state: "present", scheme: "hmac" } });
    for (let i = 0; i < 2; i++) await send(gateway, "hook", "another");
    expect(await checkOf(gateway)).toMatchObject({
      status: "warn",
      summary: '2 requests to hook had a signature with the fault "mismatch"',
    });
    const statusWith = async (headers: Record<string, string>) => {
      const answer = await fetch(`${gateway.url}/status`, { headers });
      // biome-ignore lint/suspicious/noExplicitAny: JSON of the gateway.
      return ((await answer.json()) as any).services.find(({ key }: { key: string }) => key === "hook").signature;
    };
    expect(await statusWith({})).toEqual({ scheme: "hmac", state: "present" });
    expect(await statusWith({ "x-api-key": MANAGEMENT_KEY })).toMatchObject({
      source: "HOOK_SECRET",
      refused: [{ fault: "mismatch", count: 2 }],
    });
  });

  test("is masked in the log and in the headers of its upstream", async () => {
    const { gateway } = await start();
    const answer = await send(gateway, "hook");
    expect(answer.headers.get("x-echo")).toBe("the secret is ***");
    expect(JSON.stringify((await manage(gateway, "GET", "/services")).body)).not.toContain(SECRET);
    expect(gateway.logText()).not.toContain(SECRET);
  });

  test("is read again when its file changes", async () => {
    const { gateway, upstream } = await start({});
    writeFileSync(join(gateway.directory, "secret"), "first-secret-0123456789");
    const verify = { scheme: "hmac", header: "X-Sign", secretFile: "secret" };
    const file = { services: { hook: { baseUrl: upstream.url, access: "signature", verify } } };
    writeFileSync(join(gateway.directory, "services.json"), JSON.stringify(file));
    await gateway.reload();
    expect((await send(gateway, "hook", "first-secret-0123456789")).status).toBe(200);
    writeFileSync(join(gateway.directory, "secret"), "second-secret-0123456789\n");
    expect(await gateway.refreshTokens()).toMatchObject({ isDone: true, changed: ["hook"] });
    expect((await send(gateway, "hook", "first-secret-0123456789")).status).toBe(401);
    expect((await send(gateway, "hook", "second-secret-0123456789")).status).toBe(200);
    expect(gateway.logText()).not.toContain("second-secret");
  });

  test("is explained as far as the headers decide", async () => {
    const { gateway } = await start();
    const explain = async (headers: object) =>
      (await manage(gateway, "POST", "/explain", { method: "POST", path: "/proxy/hook/in", headers })).body;
    const unsigned = await explain({});
    expect(unsigned).toMatchObject({ verdict: "refuse", refusal: { code: "INVALID_SIGNATURE" } });
    expect(unsigned.refusal.message).toContain("a header of the signature is missing");
    expect(await explain({ "X-Sign": "0".repeat(64) })).toMatchObject({ verdict: "forward" });
  });
});

describe("Over REST", () => {
  test("a service may use only the signing secrets that the operator has named for its origin and scheme", async () => {
    const { gateway, upstream, verify } = await start();
    const put = async (config: object) => (await manage(gateway, "PUT", "/services/mine", config)).body.code;
    const config = { baseUrl: upstream.url, access: "signature", verify };
    for (const refused of [
      { ...config, verify: { ...verify, secretEnvVar: "UNBOUND" } },
      { ...config, verify: { ...verify, secretEnvVar: "PROXY_API_KEY" } },
      { ...config, verify: { scheme: "stripe", secretEnvVar: "HOOK_SECRET" } },
      { ...config, verify: { scheme: "hmac", header: "X-Sign", secretFile: "/etc/passwd" } },
      { ...config, baseUrl: "http://127.0.0.2:1" },
      { baseUrl: upstream.url, auth: { type: "bearer", tokenEnvVar: "HOOK_SECRET" } },
    ]) {
      expect(await put(refused), JSON.stringify(refused)).toBe("EGRESS_NOT_ALLOWED");
    }
    expect(await put(config)).toBeUndefined();
    expect((await send(gateway, "mine")).status).toBe(200);
    expect((await send(gateway, "mine", "another")).status).toBe(401);
  });

  test("REST_SECRETS opens a signing secret for its origin", async () => {
    const upstream = await startUpstream();
    const gateway = await startGateway({
      env: {
        PROXY_API_KEY: PROXY_KEY,
        MANAGEMENT_API_KEY: MANAGEMENT_KEY,
        EGRESS_ALLOW_PRIVATE: "true",
        HOOK_SECRET: SECRET,
        REST_SECRETS: `HOOK_SECRET@${upstream.url}`,
      },
    });
    const verify = { scheme: "hmac", header: "X-Sign", secretEnvVar: "HOOK_SECRET" };
    const config = { baseUrl: upstream.url, access: "signature", verify };
    expect((await manage(gateway, "PUT", "/services/mine", config)).status).toBe(201);
    expect((await send(gateway, "mine")).status).toBe(200);
  });

  test("changing access or verify needs manage:keys", async () => {
    const { gateway, upstream, verify } = await start();
    const { body } = await manage(gateway, "POST", "/keys", { name: "ci", permissions: ["manage:services"] });
    const ask = async (method: string, path: string, config: object) => {
      const answer = await fetch(`${gateway.url}/manage${path}`, {
        method,
        headers: { "x-api-key": body.key, "content-type": "application/json" },
        body: JSON.stringify(config),
      });
      const { code, required } = (await answer.json()) as { code?: string; required?: string };
      return code === undefined ? answer.status : `${code} ${required}`;
    };
    const refused = "INSUFFICIENT_PERMISSIONS manage:keys";
    const signed = { baseUrl: upstream.url, access: "signature", verify };
    expect(await ask("PUT", "/services/mine", signed)).toBe(refused);
    expect(await ask("PATCH", "/services/hook", { verify: { toleranceSeconds: 9 } })).toBe(refused);
    expect(await ask("PATCH", "/services/hook", { access: "public", verify: null })).toBe(refused);
    expect(await ask("PATCH", "/services/hook", { retries: 1 })).toBe(200);
  });

  test("a stored service whose signing secret is no longer allowed refuses every request", async () => {
    const { gateway, upstream, verify } = await start();
    const config = { baseUrl: upstream.url, access: "signature", verify };
    expect((await manage(gateway, "PUT", "/services/mine", config)).status).toBe(201);
    writeFileSync(join(gateway.directory, "services.json"), JSON.stringify({ services: {} }));
    await gateway.reload();
    expect((await send(gateway, "mine")).status).toBe(401);
    expect(upstream.requests).toEqual([]);
  });
});
