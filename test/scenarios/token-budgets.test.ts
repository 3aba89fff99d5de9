/** Budgets of tokens: what responses cost is counted while they stream, and a spent budget refuses. */

import type { IncomingMessage, ServerResponse } from "node:http";
import { gzipSync } from "node:zlib";
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";
import { describe, expect, test } from "vitest";
import type { ServiceInput } from "../../src/config/schema.ts";
import { createMemoryStores } from "../../src/stores/open-stores.ts";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { bodyOf, startUpstream } from "../support/upstream.ts";

type Respond = (req: IncomingMessage, res: ServerResponse, body: string) => void;

const USAGE = { prompt_tokens: 20, completion_tokens: 10, total_tokens: 30 };

const sendJson = (res: ServerResponse, body: unknown) =>
  res.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body));

const chunk = (content: string, usage: unknown = null) =>
  `data: ${JSON.stringify({ id: "c", object: "chat.completion.chunk", model: "gpt-4o-mini", choices: usage === null ? [{ index: 0, delta: { content } }] : [], usage })}\n\n`;

const completion = (content = "Hello") => ({
  id: `c${Math.random()}`,
  object: "chat.completion",
  model: "gpt-4o-mini",
  choices: [{ index: 0, message: { role: "assistant", content }, finish_reason: "stop" }],
  usage: USAGE,
});

/** Like the vendor: a stream has its usage only if the request asks for it. */
const vendor: Respond = (_req, res, body) => {
  const { stream, stream_options } = JSON.parse(body || "{}");
  if (!stream) return void sendJson(res, completion());
  res.writeHead(200, { "content-type": "text/event-stream" });
  res.write(chunk("Hel"));
  res.write(chunk("lo"));
  if (stream_options?.include_usage) res.write(chunk("", USAGE));
  res.end("data: [DONE]\n\n");
};

interface Setup {
  readonly budget?: ServiceInput["budget"];
  readonly service?: Partial<ServiceInput>;
  readonly respond?: Respond;
  readonly stores?: Parameters<typeof startGateway>[0] extends infer S
    ? S extends { stores?: infer T }
      ? T
      : never
    : never;
}

async function start({ budget, service = {}, respond = vendor, stores }: Setup = {}) {
  const bodies: string[] = [];
  const api = { respond };
  const upstream = await startUpstream(async (req, res) => {
    const body = (await bodyOf(req)).toString();
    bodies.push(body);
    api.respond(req, res, body);
  });
  const clock = { now: Date.UTC(2026, 10, 29, 23, 59, 50) };
  const gateway = await startGateway({
    env: { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY, UPSTREAM_KEY: "sk-upstream-0123456789" },
    services: {
      llm: {
        baseUrl: `${upstream.url}/v1`,
        auth: { type: "bearer", tokenEnvVar: "UPSTREAM_KEY" },
        ...(budget === undefined ? {} : { budget }),
        ...service,
      },
    },
    budgetClock: () => clock.now,
    ...(stores === undefined ? {} : { stores }),
  });
  const issue = async (more: object) =>
    (await manage(gateway, "POST", "/keys", { name: "k", permissions: ["llm:*", "manage:keys"], ...more })).body as {
      readonly id: string;
      readonly key: string;
    };
  const post = (path: string, body: string | object, headers: Record<string, string> = {}) =>
    fetch(`${gateway.url}/proxy/llm${path}`, {
      method: "POST",
      headers: { "x-api-key": PROXY_KEY, "content-type": "application/json", ...headers },
      body: typeof body === "string" ? body : JSON.stringify(body),
    });
  const usage = async (query = "") => (await manage(gateway, "GET", `/usage${query}`)).body;
  const spent = async () => (await usage()).budgets[0]?.spent as number;
  const openai = (apiKey = PROXY_KEY) => new OpenAI({ apiKey, baseURL: `${gateway.url}/proxy/llm`, maxRetries: 0 });
  return Object.assign(api, { gateway, upstream, bodies, clock, issue, post, usage, spent, openai });
}

// biome-ignore lint/suspicious/noExplicitAny: each test asserts what it expects here.
const jsonOf = async (response: Response): Promise<any> => response.json();

const CHAT = "/chat/completions";
const ASK = { model: "gpt-4o-mini", messages: [{ role: "user" as const, content: "hi" }] };
const DAY = (tokens: number) => ({ tokens, per: "day" as const });

describe("With a budget", () => {
  test("OpenAI's SDK spends it with and without streaming, reads its own texts unchanged, and gets 429 when it is spent", async () => {
    const { openai, gateway, bodies, usage, upstream } = await start({ budget: DAY(60) });
    const client = openai();
    expect((await client.chat.completions.create(ASK)).choices[0]?.message.content).toBe("Hello");
    const stream = await client.chat.completions.create({ ...ASK, stream: true });
    let text = "";
    let total: number | undefined;
    for await (const part of stream) {
      text += part.choices[0]?.delta.content ?? "";
      total = part.usage?.total_tokens ?? total;
    }
    expect([text, total]).toEqual(["Hello", 30]);
    expect(bodies[1]).toBe(
      `{"stream_options":{"include_usage":true},${JSON.stringify({ ...ASK, stream: true }).slice(1)}`,
    );
    expect(upstream.requests.map(({ headers }) => headers["accept-encoding"])).toEqual(["identity", "identity"]);
    const refused = await client.chat.completions.create(ASK).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(OpenAI.RateLimitError);
    expect(upstream.requests).toHaveLength(2);
    expect(gateway.exchanges().map(({ tokens, outcome }) => [tokens, outcome])).toEqual([
      [30, "relayed"],
      [30, "relayed"],
      [undefined, "refused:BUDGET_EXCEEDED"],
    ]);
    expect(await usage()).toMatchObject({
      per: "day",
      usage: [{ caller: "proxy-key", service: "llm", model: "gpt-4o-mini", input: 40, output: 20, total: 60 }],
      budgets: [
        { of: "service", id: "llm", tokens: 60, spent: 60, remaining: 0, resetsAt: "2026-11-30T00:00:00.000Z" },
      ],
    });
  });

  test("Anthropic's SDK spends it with and without streaming, and its requests are forwarded as they are", async () => {
    const message = {
      id: "msg_1",
      type: "message",
      role: "assistant",
      model: "claude-test-model",
      content: [{ type: "text", text: "Hello" }],
      stop_reason: "end_turn",
      usage: { input_tokens: 5, cache_read_input_tokens: 100, output_tokens: 9 },
    };
    const { gateway, bodies, spent } = await start({
      budget: DAY(1_000),
      respond: (_req, res, body) => {
        if (!JSON.parse(body).stream) return void sendJson(res, message);
        res.writeHead(200, { "content-type": "text/event-stream" });
        const send = (type: string, data: object) =>
          res.write(`event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`);
        send("message_start", {
          message: { ...message, id: "msg_2", content: [], usage: { ...message.usage, output_tokens: 1 } },
        });
        send("content_block_start", { index: 0, content_block: { type: "text", text: "" } });
        send("content_block_delta", {
          index: 0,
          delta: { type: "text_delta", text: '{"usage":{"output_tokens":999}}' },
        });
        send("content_block_stop", { index: 0 });
        send("message_delta", { delta: { stop_reason: "end_turn" }, usage: { output_tokens: 15 } });
        send("message_stop", {});
        res.end();
      },
    });
    const client = new Anthropic({ apiKey: PROXY_KEY, baseURL: `${gateway.url}/proxy/llm`, maxRetries: 0 });
    const params = { model: "claude-test-model", max_tokens: 64, messages: [{ role: "user" as const, content: "hi" }] };
    await client.messages.create(params);
    expect(await spent()).toBe(114);
    const final = await client.messages.stream(params).finalMessage();
    expect(final.usage.output_tokens).toBe(15);
    expect(await spent()).toBe(114 + 120);
    expect(bodies[1]).toBe(JSON.stringify({ ...params, stream: true }));
  });

  test("A refusal says whose budget is spent and until when, and the next window of the calendar begins with nothing spent", async () => {
    const { post, clock, gateway } = await start({ budget: DAY(30) });
    expect((await post(CHAT, ASK)).status).toBe(200);
    const refused = await post(CHAT, ASK);
    expect([refused.status, refused.headers.get("retry-after")]).toEqual([429, "10"]);
    expect(await refused.json()).toMatchObject({
      code: "BUDGET_EXCEEDED",
      message: "The budget of llm is spent: 30 tokens per day. The next day begins in 10 seconds.",
      budget: { of: "service", tokens: 30, spent: 30, resetsAt: "2026-11-30T00:00:00.000Z" },
    });
    const explained = await manage(gateway, "POST", "/explain", {
      method: "POST",
      path: `/proxy/llm${CHAT}`,
      caller: "proxy-key",
    });
    expect(explained.body).toMatchObject({
      verdict: "refuse",
      refusal: { code: "BUDGET_EXCEEDED" },
      budgets: [{ of: "service", remaining: 0 }],
    });
    const status = await jsonOf(await fetch(`${gateway.url}/status`));
    const { checks } = (await manage(gateway, "GET", "/diagnostics")).body;
    expect(checks.find(({ id }: { id: string }) => id === "budgets")).toMatchObject({
      status: "warn",
      summary: "the service llm has spent 30 tokens per day",
      evidence: { spent: [{ of: "service", id: "llm", resetIn: 10 }] },
    });
    expect(status.services.find(({ key }: { key: string }) => key === "llm").budget).toEqual({
      ...{ tokens: 30, per: "day", spent: 30, remaining: 0, resetIn: 10 },
    });
    clock.now += 10_000;
    expect((await post(CHAT, ASK)).status).toBe(200);
    clock.now -= 5_000;
    expect((await post(CHAT, ASK)).status, "a clock that was set back begins no window").toBe(429);
  });

  test("A key's budget covers the keys that it issues, which may not have a larger one, and cannot be raised by itself", async () => {
    const { issue, post, gateway } = await start();
    const held = await issue({ budget: DAY(30) });
    const operate = (key: string, method: string, path: string, body: object) =>
      manage(gateway, method, path, body, { "x-api-key": key });
    const child = await operate(held.key, "POST", "/keys", { name: "c", permissions: ["llm:*"], budget: DAY(10) });
    expect(child.status).toBe(201);
    for (const budget of [null, DAY(31), { tokens: 30, per: "hour" }]) {
      const asked = await operate(held.key, "POST", "/keys", { name: "c", permissions: ["llm:*"], budget });
      expect([asked.status, asked.body.code]).toEqual([403, "INSUFFICIENT_PERMISSIONS"]);
      expect((await operate(held.key, "PATCH", `/keys/${held.id}`, { budget })).status).toBe(403);
    }
    expect((await post(CHAT, ASK, { "x-api-key": child.body.key })).status).toBe(200);
    expect((await jsonOf(await post(CHAT, ASK, { "x-api-key": held.key }))).message).toMatch(
      /budget of this key is spent/,
    );
    const other = await operate(MANAGEMENT_KEY, "PATCH", `/keys/${child.body.id}`, { budget: null });
    expect(other.body.budget).toBeNull();
    expect((await jsonOf(await post(CHAT, ASK, { "x-api-key": child.body.key }))).message).toMatch(
      /key that issued this one/,
    );
    await operate(MANAGEMENT_KEY, "PATCH", `/keys/${held.id}`, { budget: DAY(100) });
    expect((await post(CHAT, ASK, { "x-api-key": held.key })).status).toBe(200);
    expect((await post(CHAT, ASK)).status).toBe(200);
  });

  test("What was spent outlives the gateway", async () => {
    const stores = createMemoryStores() as never;
    const first = await start({ budget: DAY(30), stores });
    expect((await first.post(CHAT, ASK)).status).toBe(200);
    await first.gateway.close();
    const second = await start({ budget: DAY(30), stores });
    expect((await second.post(CHAT, ASK)).status).toBe(429);
  });

  test("A stream that the upstream cuts off, and one whose client leaves, are charged by an estimate", async () => {
    const api = await start({
      budget: DAY(100_000),
      respond: (_req, res) => {
        res.writeHead(200, { "content-type": "text/event-stream" });
        res.write(chunk("x".repeat(400)), () => res.destroy());
      },
    });
    const cut = await api.post(CHAT, { ...ASK, stream: true });
    await expect(cut.text()).rejects.toThrow();
    const requestTokens = Math.ceil(JSON.stringify({ ...ASK, stream: true }).length / 4);
    await eventually(async () => (await api.spent()) === requestTokens + 100, "the charge of the cut stream");
    api.respond = (_req, res) => {
      res.writeHead(200, { "content-type": "text/event-stream" });
      res.write(chunk("y".repeat(400)));
    };
    const abort = new AbortController();
    const left = await fetch(`${api.gateway.url}/proxy/llm${CHAT}`, {
      method: "POST",
      headers: { "x-api-key": PROXY_KEY, "content-type": "application/json" },
      body: JSON.stringify({ ...ASK, stream: true }),
      signal: abort.signal,
    });
    await left.body?.getReader().read();
    abort.abort();
    await eventually(
      async () => (await api.spent()) === 2 * (requestTokens + 100),
      "the charge of the client that left",
    );
    await eventually(() => api.gateway.exchanges()[1]?.tokens === requestTokens + 100);
  });

  test("A client that leaves before the response is charged for its request; an upstream that was never reached costs nothing", async () => {
    const api = await start({ budget: DAY(100_000), respond: () => {} });
    const abort = new AbortController();
    const body = JSON.stringify(ASK);
    const left = fetch(`${api.gateway.url}/proxy/llm${CHAT}`, {
      method: "POST",
      headers: { "x-api-key": PROXY_KEY, "content-type": "application/json" },
      body,
      signal: abort.signal,
    }).catch(() => {});
    await eventually(() => api.upstream.requests.length === 1);
    abort.abort();
    await left;
    await eventually(async () => (await api.spent()) === Math.ceil(body.length / 4), "the charge");
    api.respond = (req) => void req.socket.destroy();
    expect((await api.post(CHAT, ASK)).status).toBe(502);
    expect(await api.spent()).toBe(Math.ceil(body.length / 4));
  });

  test("An encoded response is relayed unchanged, estimated, and reported once in the log", async () => {
    const encoded = gzipSync(JSON.stringify(completion("x".repeat(50))));
    const api = await start({
      budget: DAY(100_000),
      respond: (_req, res) =>
        void res.writeHead(200, { "content-type": "application/json", "content-encoding": "gzip" }).end(encoded),
    });
    for (let i = 0; i < 2; i++) expect((await jsonOf(await api.post(CHAT, ASK))).usage).toEqual(USAGE);
    const each = Math.ceil(JSON.stringify(ASK).length / 4) + Math.ceil(encoded.length / 4);
    expect(await api.usage()).toMatchObject({
      usage: [{ model: "other", input: 0, estimated: 2 * each, total: 2 * each }],
    });
    expect(api.gateway.lines().filter(({ msg }) => String(msg).includes("response is encoded"))).toHaveLength(1);
  });

  test("A stored response that is read again is charged once; errors and documents without usage cost nothing", async () => {
    const api = await start({
      budget: DAY(100_000),
      respond: (_req, res) => void sendJson(res, { ...completion(), id: "resp_1" }),
    });
    await api.post("/responses", { model: "gpt-4o", background: true });
    for (let i = 0; i < 2; i++) {
      const again = await fetch(`${api.gateway.url}/proxy/llm/responses/resp_1`, {
        headers: { "x-api-key": PROXY_KEY },
      });
      expect((await jsonOf(again)).usage).toEqual(USAGE);
    }
    expect(await api.spent()).toBe(30);
    api.respond = (_req, res) => void res.writeHead(400, { "content-type": "application/json" }).end('{"error":{}}');
    expect((await api.post(CHAT, ASK)).status).toBe(400);
    api.respond = (_req, res) => void sendJson(res, { object: "list", data: [] });
    await api.post("/files", {});
    expect(await api.spent()).toBe(30);
  });

  test("A stored response whose client left is charged for the rest when it is read, also where its stream is left again", async () => {
    const created = { type: "response.created", response: { id: "resp_2", model: "gpt-4o", usage: null } };
    const events = (...each: object[]) => each.map((data) => `data: ${JSON.stringify(data)}\n\n`).join("");
    const written = { type: "response.output_text.delta", item_id: "msg_1", delta: "y".repeat(4_000) };
    const open = (text: string) => (_req: IncomingMessage, res: ServerResponse) => {
      res.writeHead(200, { "content-type": "text/event-stream" });
      res.write(text);
    };
    const api = await start({ budget: DAY(100_000), respond: open(events(created)) });
    const leave = async (path: string, more: RequestInit = {}) => {
      const abort = new AbortController();
      const response = await fetch(`${api.gateway.url}/proxy/llm${path}`, {
        headers: { "x-api-key": PROXY_KEY, "content-type": "application/json" },
        ...more,
        signal: abort.signal,
      });
      await response.body?.getReader().read();
      abort.abort();
    };
    const body = JSON.stringify({ model: "gpt-4o", background: true, stream: true });
    const first = Math.ceil(body.length / 4);
    await leave("/responses", { method: "POST", body });
    await eventually(async () => (await api.spent()) === first, "the charge of the request");
    // From the beginning, twice: what was charged before counts.
    api.respond = open(events(created, written));
    await leave("/responses/resp_2?stream=true");
    await eventually(async () => (await api.spent()) === 1_000, "the charge of what was read");
    await leave("/responses/resp_2?stream=true");
    await eventually(() => api.gateway.exchanges().length === 3);
    // From its middle: nothing says which response it is.
    api.respond = open(events(written));
    await leave("/responses/resp_2?stream=true&starting_after=1");
    await eventually(async () => (await api.spent()) === 2_000, "the charge of the rest of the stream");
    api.respond = (_req, res) =>
      void sendJson(res, { id: "resp_2", usage: { input_tokens: 30, output_tokens: 1_500, total_tokens: 1_530 } });
    for (let i = 0; i < 2; i++) {
      const again = { headers: { "x-api-key": PROXY_KEY } };
      await (await fetch(`${api.gateway.url}/proxy/llm/responses/resp_2`, again)).text();
    }
    expect(await api.spent()).toBe(2_530);
  });

  test("A request with an Idempotency-Key is charged once: not for its replay, and also after its client has left", async () => {
    let finish: (() => void) | undefined;
    const api = await start({
      budget: DAY(100_000),
      service: { idempotency: true },
      respond: (_req, res) => {
        finish = () => void sendJson(res, completion());
      },
    });
    const headers = { "x-api-key": PROXY_KEY, "content-type": "application/json", "idempotency-key": "k-1" };
    const abort = new AbortController();
    const url = `${api.gateway.url}/proxy/llm${CHAT}`;
    const left = fetch(url, { method: "POST", headers, body: JSON.stringify(ASK), signal: abort.signal }).catch(
      () => {},
    );
    await eventually(() => finish !== undefined);
    abort.abort();
    await left;
    await eventually(() => api.gateway.exchanges()[0]?.outcome === "client-left");
    expect(await api.spent()).toBe(0);
    finish?.();
    await eventually(async () => (await api.spent()) === 30, "the charge");
    const replayed = await api.post(CHAT, ASK, { "idempotency-key": "k-1" });
    expect([replayed.headers.get("idempotency-replayed"), (await jsonOf(replayed)).usage]).toEqual(["true", USAGE]);
    expect(await api.spent()).toBe(30);
    expect(api.upstream.requests).toHaveLength(1);
  });

  test("A secret is masked in what the client gets, hooks or not, and the tokens are those of the upstream", async () => {
    const secret = "sk-upstream-0123456789";
    const api = await start({
      budget: DAY(100_000),
      service: { scrubBodies: true },
      respond: (_req, res) => void sendJson(res, completion(secret)),
    });
    const answer = await api.post(CHAT, ASK);
    const text = await answer.text();
    expect(text).not.toContain(secret);
    expect(JSON.parse(text).usage).toEqual(USAGE);
    expect(await api.spent()).toBe(30);
  });

  test("Requests at the same time may spend beyond the budget, each by its own cost, and all of it is counted", async () => {
    const api = await start({ budget: DAY(31) });
    const statuses = await Promise.all(Array.from({ length: 20 }, async () => (await api.post(CHAT, ASK)).status));
    const served = statuses.filter((status) => status === 200).length;
    expect(served).toBeGreaterThanOrEqual(2);
    expect(await api.spent()).toBe(served * 30);
    expect((await api.post(CHAT, ASK)).status).toBe(429);
  });

  test("The metrics count tokens by service, model and kind, with a bounded number of names", async () => {
    let count = 0;
    const api = await start({
      budget: DAY(1_000_000),
      respond: (_req, res) =>
        void sendJson(res, { ...completion(), model: count++ < 60 ? `model-${count}` : '"}\nevil{x="' }),
    });
    for (let i = 0; i < 62; i++) await api.post(CHAT, ASK);
    const text = await (await fetch(`${api.gateway.url}/metrics`)).text();
    const lines = text.split("\n").filter((line) => line.startsWith("byteproxy_tokens_total{"));
    expect(lines).toHaveLength(51 * 2);
    expect(lines).toContain('byteproxy_tokens_total{service="llm",model="model-1",kind="input"} 20');
    expect(lines).toContain('byteproxy_tokens_total{service="llm",model="other",kind="output"} 120');
    expect((await api.usage("?service=llm&caller=proxy-key")).count).toBe(51);
    expect((await api.usage("?caller=nobody")).usage).toEqual([]);
  });
});

describe("The request for usage", () => {
  test("No other path, no other method of sending and no service without a budget has its body read or changed", async () => {
    const body = '{"stream":true}';
    const api = await start({ budget: DAY(1_000), respond: (_req, res) => void res.end() });
    await api.post("/messages", body);
    await api.post(CHAT, body, { "content-type": "text/plain" });
    await api.post(CHAT, `{"stream":true,"x":"${"y".repeat(1_100_000)}"}`);
    expect(api.bodies.map((each) => each.slice(0, 15))).toEqual([body, body, '{"stream":true,']);
    const chunked = (text: string) =>
      fetch(`${api.gateway.url}/proxy/llm${CHAT}`, {
        method: "POST",
        headers: { "x-api-key": PROXY_KEY, "content-type": "application/json" },
        body: new Blob([text]).stream(),
        duplex: "half",
      } as RequestInit);
    expect((await chunked(body)).status).toBe(200);
    expect(api.bodies[3]).toBe('{"stream_options":{"include_usage":true},"stream":true}');
    expect((await chunked(`{"x":"${"y".repeat(1_100_000)}"}`)).status).toBe(413);
    const free = await start({ respond: (_req, res) => void res.end() });
    await free.post(CHAT, body);
    expect(free.bodies).toEqual([body]);
    expect(free.upstream.requests[0]?.headers["accept-encoding"]).not.toBe("identity");
  });
});
