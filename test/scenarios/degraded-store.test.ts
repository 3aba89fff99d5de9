/** What happens to shared limits while Redis fails: requests go on, each gateway counts its share, and the store recovers on its own. */
import { readFileSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { describe, expect, onTestFinished, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { countOf, type Fleet, startFleet } from "../support/fleet.ts";
import { freePort } from "../support/free-port.ts";
import { manage } from "../support/manage.ts";
import { hasRedis, type RedisServer, startRedis } from "../support/redis-server.ts";
import { startUpstream } from "../support/upstream.ts";

const LIMIT = { maxRequests: 30, windowMs: 600_000 };

interface Setup {
  readonly redis: RedisServer;
  readonly fleet: Fleet;
  readonly first: Fleet["gateways"][number];
}

async function start(url: string, count = 3): Promise<Fleet> {
  const upstream = await startUpstream();
  return startFleet({ url, count, services: { api: { baseUrl: upstream.url, rateLimit: LIMIT } } });
}

async function startConnected(options: readonly string[] = []): Promise<Setup> {
  const redis = await startRedis(options);
  const fleet = await start(redis.url);
  await fleet.connected();
  return { redis, fleet, first: fleet.gateways[0] as Setup["first"] };
}

/** The lines of the log about the store. */
const linesOf = ({ lines }: Setup["first"]) => lines().filter(({ store }) => store === "redis");

/** Each of three gateways admits a third of the limit, and refuses the rest: none fails. */
async function expectLocalShares(fleet: Fleet): Promise<void> {
  const statuses = await fleet.ask(15);
  expect([countOf(statuses, 200), countOf(statuses, 429)]).toEqual([30, 15]);
}

describe.skipIf(!hasRedis)("While the shared store is degraded", () => {
  test("A killed Redis fails no request, is reported everywhere, and is used again after a restart", async () => {
    const { redis, fleet, first } = await startConnected();
    expect(countOf(await fleet.ask(20), 200)).toBe(30);
    const during = fleet.ask(10);
    await redis.kill();
    await fleet.degraded("unreachable");
    expect(countOf(await during, 429) + countOf(await during, 200)).toBe(30);
    // What was counted locally while it was killed counts in the same window.
    expect(countOf([...(await during), ...(await fleet.ask(15))], 200)).toBe(30);

    const ready = await fetch(`${first.url}/health/ready`);
    expect([ready.status, await ready.json()]).toEqual([200, { status: "ready", reasons: [], degraded: ["store"] }]);
    const metrics = (await (await fetch(`${first.url}/metrics`)).text()).split("\n");
    expect(metrics).toEqual(expect.arrayContaining(["byteproxy_store_degraded 1", "byteproxy_store_replicas 3"]));
    const { checks } = (await manage(first, "GET", "/diagnostics")).body;
    expect(checks.find(({ id }: { id: string }) => id === "store")).toMatchObject({
      status: "warn",
      evidence: { shared: true, state: "degraded", fault: "unreachable", replicas: 3 },
    });
    const reset = await manage(first, "POST", "/services/api/rate-limit/reset");
    expect([reset.status, reset.body.code]).toEqual([503, "STORE_UNAVAILABLE"]);

    await redis.restart();
    await fleet.connected();
    // It is empty: a window begins.
    expect(countOf(await fleet.ask(15), 200)).toBe(30);
    expect(await (await fetch(`${first.url}/health/ready`)).json()).toEqual({ status: "ready", reasons: [] });
    expect(linesOf(first).map(({ level, msg }) => [level, msg])).toEqual([
      [30, "the shared store is connected"],
      [40, "the shared store is degraded, limits are local: it cannot be reached"],
      [30, "the shared store is connected"],
    ]);

    // One that ends leaves its share to the others at once.
    await fleet.gateways[2]?.close();
    expect(await redis.command("ZCARD", "byteproxy:replicas")).toMatch(/2$/);
  });

  test("A frozen Redis delays a request by less than a second, and is used again when it continues", async () => {
    const { redis, fleet, first } = await startConnected();
    redis.signal("SIGSTOP");
    const startedAt = performance.now();
    await expectLocalShares(fleet);
    expect(performance.now() - startedAt).toBeLessThan(2_000);
    await fleet.degraded("unresponsive");
    redis.signal("SIGCONT");
    await fleet.connected();
    // The calls that it received meanwhile were counted.
    await manage(first, "POST", "/services/api/rate-limit/reset");
    expect(countOf(await fleet.ask(15), 200)).toBe(30);
  });

  test("A full Redis is degraded until it has memory again", async () => {
    const { redis, fleet, first } = await startConnected();
    expect(await redis.command("CONFIG", "SET", "maxmemory", "1mb")).toContain("OK");
    await expectLocalShares(fleet);
    await fleet.degraded("full");
    expect(linesOf(first).at(-1)).toMatchObject({ fault: "full", code: "OOM" });
    await redis.command("CONFIG", "SET", "maxmemory", "0");
    await fleet.connected();
    expect(countOf(await fleet.ask(15), 200)).toBe(30);
  });

  test("Three slow calls in a row degrade the store, and it recovers when calls are fast", async () => {
    const redis = await startRedis();
    const path = await startSlowPath(redis.port);
    const fleet = await start(path.url, 1);
    await fleet.connected();
    path.delayMs = 80;
    for (let i = 0; i < 3; i++) expect(await fleet.ask(1)).toEqual([200]);
    await fleet.degraded("slow");
    const startedAt = performance.now();
    expect(await fleet.ask(1)).toEqual([200]);
    expect(performance.now() - startedAt).toBeLessThan(80);
    path.delayMs = 0;
    await fleet.connected();
  });

  test("A gateway starts while Redis is unreachable, and connects when it is there", async () => {
    const port = await freePort();
    const fleet = await start(`redis://127.0.0.1:${port}`, 1);
    await fleet.degraded("unreachable");
    expect(countOf(await fleet.ask(31), 200)).toBe(30);
    await startRedis([], port);
    await fleet.connected();
    expect(countOf(await fleet.ask(31), 200)).toBe(30);
  });

  test("A wrong password is reported by its code, and no password is shown", async () => {
    const redis = await startRedis(["--requirepass", "right-password"]);
    const fleet = await start(`redis://:wrong-pass%2Fword@127.0.0.1:${redis.port}`, 1);
    await fleet.degraded("refused");
    expect(countOf(await fleet.ask(31), 200)).toBe(30);
    const first = fleet.gateways[0] as Setup["first"];
    const { body } = await manage(first, "GET", "/diagnostics");
    expect(body.checks.find(({ id }: { id: string }) => id === "store").summary).toContain("(WRONGPASS)");
    expect(`${first.logText()}${JSON.stringify(body)}`).not.toMatch(/wrong-pass|right-password/);

    // The user that docs/scaling.md creates.
    const [acl] = /^ACL SETUSER .+$/m.exec(readFileSync("docs/scaling.md", "utf8")) ?? [""];
    expect(await redis.command(...acl.split(" "))).toContain("OK");
    const right = await start(`redis://byteproxy:a-long-password@127.0.0.1:${redis.port}/1`, 1);
    await right.connected();
    expect(countOf(await right.ask(31), 200)).toBe(30);
    expect((await manage(right.gateways[0] as Setup["first"], "POST", "/services/api/rate-limit/reset")).status).toBe(
      204,
    );
    expect(countOf(await right.ask(1), 200)).toBe(1);
  });

  test("A call that fails each time, unlike the heartbeat, does not fill the log", async () => {
    const redis = await startRedis();
    const fleet = await start(redis.url, 1);
    await fleet.connected();
    await redis.command("ACL", "SETUSER", "default", "-incr");
    const isDegraded = ({ msg }: Record<string, unknown>) => /degraded/.test(String(msg));
    const first = fleet.gateways[0] as Setup["first"];
    const startedAt = performance.now();
    await eventually(
      async () => {
        expect(await fleet.ask(1)).not.toContain(502);
        await new Promise((resolve) => setTimeout(resolve, 25));
        return linesOf(first).filter(isDegraded).length === 3;
      },
      "two recoveries",
      10_000,
    );
    // After 500 ms, and after a second.
    expect(performance.now() - startedAt).toBeGreaterThan(1_500);
    expect(
      linesOf(first)
        .filter(isDegraded)
        .map(({ code }) => code),
    ).toEqual(["NOPERM", "NOPERM", "NOPERM"]);
  });

  test("A gateway ends at once while it connects to a server that does not respond", async () => {
    const silent = createServer(() => {});
    silent.listen(0, "127.0.0.1");
    await eventually(() => silent.listening);
    onTestFinished(() => void silent.close());
    const fleet = await start(`redis://:a-password@127.0.0.1:${(silent.address() as AddressInfo).port}`, 1);
    expect(await fleet.ask(1)).toEqual([200]);
    await fleet.degraded("connecting");
    const startedAt = performance.now();
    await fleet.gateways[0]?.close();
    expect(performance.now() - startedAt).toBeLessThan(2_000);
  });
});

/** A connection to Redis whose replies are delayed. */
async function startSlowPath(port: number) {
  const path = { url: "", delayMs: 0 };
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const redis = connect(port, "127.0.0.1");
    for (const socket of [client, redis]) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        client.destroy();
        redis.destroy();
      });
    }
    client.pipe(redis);
    redis.on("data", (chunk) => setTimeout(() => client.write(chunk), path.delayMs));
  });
  server.listen(0, "127.0.0.1");
  await eventually(() => server.listening);
  onTestFinished(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  path.url = `redis://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return path;
}
