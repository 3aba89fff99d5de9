/** Whatever clients and upstreams do, no request with a key is executed twice. */
import { expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { startOnceApi } from "../support/once-api.ts";

/** mulberry32, so that a failure can be repeated. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

test("With clients that leave and an upstream that fails in every way, each key is executed at most once", async () => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  const random = seeded(seed);
  const api = await startOnceApi(
    { breaker: false, maxConnections: 4, timeoutMs: 250, idempotency: { maxBodyBytes: 20_000 } },
    { env: { NETWORK_RETRIES: "2" } },
  );
  const executed = new Map<string, number>();
  const responses = new Map<string, string>();
  api.respond = (res, { req, body }) => {
    const key = req.headers["idempotency-key"] as string;
    const count = (executed.get(key) ?? 0) + 1;
    executed.set(key, count);
    const text = `${key} ${body} ${count} `.padEnd(random() < 0.3 ? 30_000 : 200, ".");
    responses.set(key, text);
    const chance = random();
    if (chance < 0.1) res.destroy();
    else if (chance < 0.2) res.write(text.slice(0, 50), () => res.destroy());
    else if (chance < 0.3) res.writeHead(500).end(text);
    else if (chance < 0.4) return;
    else if (chance < 0.5) res.writeHead(200, { "content-type": "text/event-stream" }).end(text);
    else if (chance < 0.75) {
      res.write(text.slice(0, 50));
      setTimeout(() => res.end(text.slice(50)), random() * 30);
    } else setTimeout(() => res.end(text), random() * 30);
  };
  const keys = Array.from({ length: 40 }, (_, i) => `key-${i}`);
  const mistakes: string[] = [];
  let replays = 0;
  const ask = async (key: string) => {
    const sent = api.send(key, `body of ${key}`);
    if (random() < 0.4) setTimeout(() => sent.request.destroy(), random() * 25);
    const received = await sent.received.catch(() => undefined);
    if (received?.isReplayed) replays++;
    if (received === undefined || received.isCut || received.code !== undefined) return;
    if (received.body !== responses.get(key)) mistakes.push(`${key}: ${received.status} ${received.body.slice(0, 60)}`);
  };
  for (let round = 0; round < 4; round++) {
    await Promise.all([...keys, ...keys].map((key) => ask(key)));
  }
  expect(mistakes, `seed ${seed}`).toEqual([]);
  expect(
    [...executed].filter(([, count]) => count > 1),
    `seed ${seed}`,
  ).toEqual([]);
  expect(executed.size).toBe(keys.length);
  expect(replays).toBeGreaterThan(0);
  const status = async () => {
    const response = await fetch(`${api.gateway.url}/status`);
    const { services } = (await response.json()) as { services: { key: string; inFlight: { current: number } }[] };
    return services.find(({ key }) => key === "api")?.inFlight.current === 0;
  };
  await eventually(status, "all slots to be free");
});
