/** `GET /manage/requests`: the last exchanges, as the log has them. */
import { describe, expect, test } from "vitest";
import { ask } from "../support/contract.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway } from "../support/gateway.ts";
import { rawRequest } from "../support/raw-request.ts";
import { startUpstream } from "../support/upstream.ts";
import { worstTurnOf } from "../support/worst-turn.ts";

const KEYS = { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY };
const caller = { "x-api-key": PROXY_KEY };
const operator = { "x-api-key": MANAGEMENT_KEY };

interface Listed {
  readonly requests: readonly Record<string, unknown>[];
  readonly count: number;
}

async function start(env: Record<string, string> = {}) {
  const upstream = await startUpstream((req, res) => {
    res.statusCode = Number(/status=(\d+)/.exec(req.url ?? "")?.[1] ?? 200);
    res.end("ok");
  });
  const gateway = await startGateway({
    env: { ...KEYS, ...env },
    services: {
      api: { baseUrl: upstream.url, retries: 0 },
      limited: { baseUrl: upstream.url, rateLimit: { maxRequests: 1, windowMs: 60_000 } },
    },
  });
  const send = (path: string, headers: Record<string, string> = caller) =>
    ask(gateway.port, { method: "GET", path: `/proxy/${path}`, headers });
  const list = async (query = "") => {
    const answer = await ask(gateway.port, { method: "GET", path: `/manage/requests${query}`, headers: operator });
    return { ...answer, ...(JSON.parse(answer.body) as Listed) };
  };
  return { gateway, send, list };
}

const idsOf = ({ requests }: Listed) => requests.map(({ requestId }) => requestId);

describe("/manage/requests", () => {
  test("The last exchanges are listed, newest first, with the fields and the masks of the log", async () => {
    const { gateway, send, list } = await start();
    await send("api/a?token=a-secret-value");
    await send(`api/b?x=1&api_key=${PROXY_KEY}`, {});
    await send('api/%22new/<script>alert(1)</script>/"},{"x":"');
    await send("unknown/x");
    await send("api/c", { "x-api-key": "wrong" });
    const answer = await list();
    const logged = gateway.exchanges().map(({ level, msg, ...fields }) => fields);
    expect(answer.requests).toEqual(logged.toReversed());
    expect(answer).toMatchObject({ status: 200, count: 5 });
    expect(answer.headers.get("cache-control")).toBe("no-store");
    expect(answer.headers.get("content-type")).toBe("application/json");
    expect(answer.body).not.toMatch(/a-secret-value|proxy-key-0123/);
  });

  test("Exchanges are listed when the log has none of them", async () => {
    const quiet = [
      ["ACCESS_LOG", "false"],
      ["LOG_LEVEL", "error"],
      ["LOGGING_ENABLED", "false"],
    ] as const;
    for (const [name, value] of quiet) {
      const { gateway, send, list } = await start({ [name]: value });
      await send("api/a");
      expect((await list()).requests).toMatchObject([{ service: "api", status: 200, caller: "proxy-key" }]);
      expect(gateway.exchanges()).toEqual([]);
    }
  });

  test("Each filter selects, and filters are combined", async () => {
    const { send, list } = await start();
    const id = (requestId: string) => ({ ...caller, "x-request-id": requestId });
    await send("api/a", id("one"));
    await send("api/b?status=503", id("two"));
    await send("limited/a", id("three"));
    await send("limited/b", id("four"));
    await send("api/c", { "x-request-id": "five" });
    const selected = async (query: string) => idsOf(await list(query));
    expect(await selected("?service=api")).toEqual(["two", "one"]);
    expect(await selected("?status=5xx")).toEqual(["two"]);
    expect(await selected("?status=429")).toEqual(["four"]);
    expect(await selected("?status=4XX")).toEqual(["five", "four"]);
    expect(await selected("?code=RATE_LIMIT_EXCEEDED")).toEqual(["four"]);
    expect(await selected("?code=MISSING_CREDENTIALS")).toEqual(["five"]);
    expect(await selected("?caller=proxy-key&service=limited")).toEqual(["four", "three"]);
    expect(await selected("?requestId=three")).toEqual(["three"]);
    expect(await selected("?requestId=three&status=5xx")).toEqual([]);
    expect(await selected("?limit=2")).toEqual(["five", "four"]);
    expect(await selected("?limit=1&service=api")).toEqual(["two"]);
    expect(await selected(`?service=api&api_key=${MANAGEMENT_KEY}`)).toEqual(["two", "one"]);
  });

  test.each([
    ["status=600", "status"],
    ["status=5x", "status"],
    ["status=", "status"],
    ["status=500%0a", "status"],
    ["service=../api", "service"],
    ["service=", "service"],
    ["code=NOPE", "code"],
    ["code=relayed", "code"],
    ["caller=a%0db", "caller"],
    ["requestId=%22%7d", "requestId"],
    ["limit=0", "limit"],
    ["limit=-1", "limit"],
    ["limit=1e9", "limit"],
    ["stauts=5xx", "stauts"],
    ["service[]=api", "service[]"],
    ["__proto__=api", "__proto__"],
  ])("The query %s is refused with 400, and the refusal names the parameter", async (query, name) => {
    const { list } = await start();
    const answer = await list(`?${query}`);
    const body = JSON.parse(answer.body);
    expect([answer.status, body.code]).toEqual([400, "VALIDATION_ERROR"]);
    expect(JSON.stringify([body.message, body.details])).toContain(name);
  });

  test("A key needs manage:read, and requests are listed on the operators' listener only", async () => {
    const { gateway } = await start({ MANAGEMENT_PORT: "0" });
    const port = Number(new URL(gateway.managementUrl as string).port);
    const asked = { method: "GET", path: "/manage/requests" };
    expect((await ask(gateway.port, { ...asked, headers: operator })).status).toBe(404);
    expect((await ask(port, { ...asked, headers: operator })).status).toBe(200);
    expect((await ask(port, asked)).status).toBe(401);
    expect((await ask(port, { ...asked, headers: caller })).status).toBe(401);
    for (const [permission, status] of [
      ["manage:read", 200],
      ["manage:services", 403],
      ["api:read", 401],
    ] as const) {
      const body = JSON.stringify({ name: "x", permissions: [permission] });
      const headers = { ...operator, "content-type": "application/json" };
      const { key } = JSON.parse((await ask(port, { method: "POST", path: "/manage/keys", headers, body })).body);
      expect((await ask(port, { ...asked, headers: { "x-api-key": key } })).status, permission).toBe(status);
    }
  });

  test("The number of exchanges and the length of all paths are bounded", async () => {
    const { gateway, list } = await start();
    /** On one connection, without waiting for responses. */
    const pipeline = (path: string, count: number) => {
      const request = `GET ${path} HTTP/1.1\r\nHost: a\r\n`;
      return rawRequest(gateway.port, `${`${request}\r\n`.repeat(count)}${request}Connection: close\r\n\r\n`);
    };
    const long = `/proxy/unknown${"/bot1%20".repeat(1_900)}`;
    for (let i = 0; i < 10; i++) await pipeline(long, 29);
    const { requests: kept, body } = await list();
    // To mask and to format them takes hundreds of milliseconds: other requests are served meanwhile.
    expect(await worstTurnOf(list, 100)).toBeLessThan(100);
    const characters = kept.reduce((sum, { path }) => sum + (path as string).length, 0);
    expect(characters).toBeLessThanOrEqual(4 * 1024 * 1024);
    expect(characters).toBeGreaterThan(4 * 1024 * 1024 - 20_000);
    expect(body.length).toBeLessThan(5 * 1024 * 1024);
    for (let i = 0; i < 12; i++) await pipeline("/proxy/unknown/", 99);
    expect((await list()).count).toBe(1_000);
  }, 30_000);
});
