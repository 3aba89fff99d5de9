/** Callers that may use the same service: none of them keeps the others from it. */
import type { ServerResponse } from "node:http";
import { describe, expect, test } from "vitest";
import type { ServiceInput } from "../../src/config/schema.ts";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway, type TestGateway } from "../support/gateway.ts";
import { openSocket } from "../support/raw-request.ts";
import { startUpstream } from "../support/upstream.ts";

/** `/held` has no response until the test ends it; `/<status>` responds with it; anything else with 200. */
async function start(service: Partial<ServiceInput> = {}, env: Record<string, string> = {}) {
  const held: { readonly url: string; readonly res: ServerResponse }[] = [];
  const upstream = await startUpstream((req, res) => {
    const url = req.url as string;
    if (url.startsWith("/reset")) return void req.once("data", () => req.socket.resetAndDestroy());
    req.resume();
    if (url.startsWith("/held")) return void held.push({ url, res });
    res.writeHead(Number(/^\/(\d{3})$/.exec(url)?.[1] ?? 200)).end();
  });
  const api = { baseUrl: upstream.url, retries: 0, ...service };
  const gateway = await startGateway({ services: { api }, env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY, ...env } });
  const as =
    (key: string) =>
    (path: string, init: RequestInit = {}) =>
      fetch(`${gateway.url}/proxy/api${path}`, { ...init, headers: { ...(key === "" ? {} : { "x-api-key": key }) } });
  const issue = async (name: string) => {
    const headers = { "x-api-key": MANAGEMENT_KEY, "content-type": "application/json" };
    const body = JSON.stringify({ name, permissions: ["api:*"] });
    const response = await fetch(`${gateway.url}/manage/keys`, { method: "POST", headers, body });
    return ((await response.json()) as { key: string }).key;
  };
  return { held, upstream, gateway, as, issue };
}

interface Seen {
  readonly connections: { readonly busy: number; readonly pending: number };
  readonly breaker: { readonly state: string };
}

async function seen({ url }: TestGateway): Promise<Seen> {
  const headers = { "x-api-key": MANAGEMENT_KEY };
  const { services } = (await (await fetch(`${url}/status`, { headers })).json()) as {
    services: (Seen & { key: string })[];
  };
  return services.find(({ key }) => key === "api") as Seen;
}

const codeOf = ({ status, headers }: Response) => headers.get("x-proxy-error") ?? status;

describe("breaker of a service with several callers", () => {
  const breaker = { minRequests: 4, openMs: 60_000 };

  test.each([500, 503, 504])(
    "A caller whose own requests end in %i does not close the service for a caller whose requests succeed",
    async (status) => {
      const { as, issue, gateway } = await start({ breaker });
      const [mallory, bob] = [as(await issue("mallory")), as(await issue("bob"))];
      expect((await bob("/fine")).status).toBe(200);
      for (let i = 0; i < 20; i++) expect((await mallory(`/${status}`)).status).toBe(status);
      expect((await bob("/fine")).status).toBe(200);
      expect((await seen(gateway)).breaker.state).toBe("closed");
    },
  );

  test("A caller's own timeouts do not close the service for a caller whose requests succeed", async () => {
    const { as, issue, gateway } = await start({ breaker, timeoutMs: 60 });
    const [mallory, bob] = [as(await issue("mallory")), as(await issue("bob"))];
    expect((await bob("/fine")).status).toBe(200);
    const slow = await Promise.all(Array.from({ length: 8 }, () => mallory("/held")));
    expect(slow.map(codeOf)).toEqual(new Array(8).fill("UPSTREAM_TIMEOUT"));
    expect((await bob("/fine")).status).toBe(200);
    expect((await seen(gateway)).breaker.state).toBe("closed");
  });

  test("A breaker that only one caller opened lets another caller through at once, and closes if that succeeds", async () => {
    const { as, issue, gateway } = await start({ breaker });
    const [mallory, bob] = [as(await issue("mallory")), as(await issue("bob"))];
    for (let i = 0; i < 4; i++) await mallory("/503");
    expect(codeOf(await mallory("/503"))).toBe("CIRCUIT_OPEN");
    expect((await bob("/fine")).status).toBe(200);
    expect((await seen(gateway)).breaker.state).toBe("closed");
  });

  test("A breaker opens for all callers when the requests of all of them fail", async () => {
    const { as, issue, upstream } = await start({ breaker });
    const [one, other] = [as(await issue("one")), as(await issue("other"))];
    for (let i = 0; i < 2; i++) for (const each of [one, other]) expect((await each("/503")).status).toBe(503);
    expect([codeOf(await one("/503")), codeOf(await other("/503"))]).toEqual(["CIRCUIT_OPEN", "CIRCUIT_OPEN"]);
    expect(upstream.requests).toHaveLength(4);
  });

  test("Uploads that the upstream does not read to their end open no breaker, of the only caller either", async () => {
    const { gateway } = await start({ breaker }, { PROXY_API_KEY: PROXY_KEY });
    for (let i = 0; i < 6; i++) {
      const client = await openSocket(gateway.port);
      client.write(
        `POST /proxy/api/reset HTTP/1.1\r\nHost: a\r\nx-api-key: ${PROXY_KEY}\r\nContent-Length: 9000000\r\n\r\n${"x".repeat(300_000)}`,
      );
      await eventually(() => client.received.includes("502"));
      client.destroy();
    }
    expect((await seen(gateway)).breaker).toMatchObject({ state: "closed", failures: 0 });
  });
});

describe("connections of a service with several callers", () => {
  test("Uploads of one caller that never end leave an eighth of the connections to the others", async () => {
    const { as, issue, gateway } = await start({ maxConnections: 16 });
    const [mallory, bob] = [await issue("mallory"), as(await issue("bob"))];
    for (let i = 0; i < 20; i++) {
      const client = await openSocket(gateway.port);
      client.write(`POST /proxy/api/held HTTP/1.1\r\nHost: a\r\nx-api-key: ${mallory}\r\nContent-Length: 9\r\n\r\nx`);
    }
    await eventually(async () => (await seen(gateway)).connections.pending === 6);
    expect((await seen(gateway)).connections).toMatchObject({ busy: 14, pending: 6 });
    const response = await bob("/fine");
    expect([response.status, response.headers.get("x-proxy-queue-duration")]).toEqual([200, null]);
  });

  test.each([
    { maxConnections: 1, share: 1 },
    { maxConnections: 2, share: 1 },
    { maxConnections: 8, share: 7 },
    { maxConnections: 9, share: 7 },
  ])("Of $maxConnections connections one of several callers uses at most $share", async ({ maxConnections, share }) => {
    const { as, issue, gateway, held } = await start({ maxConnections });
    const [mallory] = [as(await issue("mallory")), await issue("bob")];
    const calls = Array.from({ length: maxConnections + 1 }, () => mallory("/held"));
    await eventually(async () => (await seen(gateway)).connections.pending === maxConnections + 1 - share);
    expect((await seen(gateway)).connections.busy).toBe(share);
    for (let ended = 0; ended < calls.length; ended++) {
      await eventually(() => held.length > ended);
      held[ended]?.res.end();
    }
    await Promise.all(calls);
  });

  test("The only caller of an installation uses all connections, with a key or on an open plane", async () => {
    for (const env of [{ PROXY_API_KEY: PROXY_KEY }, {}] as Record<string, string>[]) {
      const { as, gateway, held } = await start({ maxConnections: 4 }, env);
      const ask = as("PROXY_API_KEY" in env ? PROXY_KEY : "");
      const calls = Array.from({ length: 4 }, () => ask("/held"));
      await eventually(() => held.length === 4);
      expect((await seen(gateway)).connections).toMatchObject({ busy: 4, pending: 0 });
      for (const { res } of held) res.end();
      await Promise.all(calls);
    }
  });

  test("On a public service each address of anonymous callers is a caller, and a /64 is one address", async () => {
    const env = { PROXY_API_KEY: PROXY_KEY, TRUST_PROXY: "127.0.0.1" };
    const { gateway, held } = await start({ maxConnections: 4, access: "public" }, env);
    const from = (address: string) =>
      fetch(`${gateway.url}/proxy/api/held`, { headers: { "x-forwarded-for": address } });
    const calls = [1, 2, 3, 4, 5].map((host) => from(`2001:db8:1:1::${host}`));
    await eventually(async () => (await seen(gateway)).connections.pending === 2);
    calls.push(from("203.0.113.9"));
    await eventually(() => held.length === 4);
    for (let ended = 0; ended < calls.length; ended++) {
      await eventually(() => held.length > ended);
      held[ended]?.res.end();
    }
    await Promise.all(calls);
  });

  test("The queue for connections alternates between callers", async () => {
    const { as, issue, gateway, held } = await start({ maxConnections: 1 });
    const [mallory, bob, carol] = [as(await issue("m")), as(await issue("b")), as(await issue("c"))];
    const calls: Promise<Response>[] = [];
    const queue = async (ask: typeof bob, path: string) => {
      calls.push(ask(path));
      await eventually(async () => (await seen(gateway)).connections.pending === calls.length - 1);
    };
    calls.push(mallory("/held/first"));
    await eventually(() => held.length === 1);
    for (const path of ["/held/m1", "/held/m2", "/held/m3"]) await queue(mallory, path);
    for (const path of ["/held/b1", "/held/b2"]) await queue(bob, path);
    await queue(carol, "/held/c1");
    for (let ended = 0; ended < calls.length; ended++) {
      await eventually(() => held.length > ended);
      held[ended]?.res.end();
    }
    await Promise.all(calls);
    expect(held.map(({ url }) => url.slice(6))).toEqual(["first", "m1", "b1", "c1", "m2", "b2", "m3"]);
  });

  test("A full queue has room for a caller with fewer requests in it, and refuses the last request of the caller with the most", async () => {
    const { as, issue, gateway, held } = await start({ maxConnections: 1, maxPending: 3 });
    const [mallory, bob] = [as(await issue("mallory")), as(await issue("bob"))];
    const codes: unknown[] = [];
    const ask = (path: string) => mallory(path).then((response) => codes.push(codeOf(response)));
    const calls: Promise<unknown>[] = [ask("/held")];
    await eventually(() => held.length === 1);
    for (let i = 0; i < 4; i++) calls.push(ask("/fine"));
    await eventually(() => codes.length === 1);
    const waiting = bob("/fine");
    await eventually(() => codes.length === 2);
    expect(codes).toEqual(["UNDER_PRESSURE", "UNDER_PRESSURE"]);
    expect((await seen(gateway)).connections.pending).toBe(3);
    held[0]?.res.end();
    expect((await waiting).status).toBe(200);
    await Promise.all(calls);
    expect(codes.filter((code) => code === 200)).toHaveLength(3);
  });
});
